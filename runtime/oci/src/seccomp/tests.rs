//! The compiler against an interpreter, a naive evaluator and the kernel.

use super::architecture::{Architecture, X32_BIT};
use super::{CompileError, Filter, compile, runtime_default};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompFilterFlag as Flag, LinuxSeccompOperator as Operator, LinuxSyscall,
};
use proptest::prelude::*;
use sys::seccomp::Instruction;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL_PROCESS: u32 = 0x8000_0000;

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;

/// `struct seccomp_data` without the instruction pointer, which no profile looks at.
#[derive(Clone, Copy, Debug)]
struct Call {
    number: u32,
    architecture: u32,
    arguments: [u64; 6],
}

fn call(architecture: u32, number: u32, first: u64) -> Call {
    Call { number, architecture, arguments: [first, 0, 0, 0, 0, 0] }
}

/// Runs a filter as the kernel would: the action, and how many instructions it took.
fn run(program: &[Instruction], data: Call) -> (u32, usize) {
    let (mut at, mut accumulator, mut steps) = (0, 0_u32, 0);
    loop {
        let one = program[at];
        at += 1;
        steps += 1;
        let jump = |holds: bool| usize::from(if holds { one.jump_true } else { one.jump_false });
        match one.code {
            0x20 => {
                accumulator = match one.value {
                    0 => data.number,
                    4 => data.architecture,
                    word => {
                        assert!((16..64).contains(&word) && word % 4 == 0, "load from {word}");
                        let argument = data.arguments[(word as usize - 16) / 8];
                        if word % 8 == 0 { argument as u32 } else { (argument >> 32) as u32 }
                    }
                }
            }
            0x54 => accumulator &= one.value,
            0x05 => at += one.value as usize,
            0x15 => at += jump(accumulator == one.value),
            0x25 => at += jump(accumulator > one.value),
            0x35 => at += jump(accumulator >= one.value),
            0x06 => return (one.value, steps),
            code => panic!("opcode {code:#x} at {}", at - 1),
        }
    }
}

/// What the profile means, rule by rule, without tables or jumps. x86_64 and x86 only.
fn evaluate(profile: &LinuxSeccomp, data: Call) -> u32 {
    let architecture = match (data.architecture, data.number & X32_BIT != 0) {
        (X86_64, false) => Architecture::X86_64,
        (X86_64, true) if data.number == u32::MAX => Architecture::X86_64,
        (X86_64, true) => Architecture::X32,
        (X86, _) => Architecture::X86,
        _ => return KILL_PROCESS,
    };
    let listed: Vec<_> = profile
        .architectures()
        .iter()
        .flatten()
        .filter_map(|arch| Architecture::from_profile(*arch))
        .collect();
    if architecture != Architecture::X86_64 && !listed.contains(&architecture) {
        return KILL_PROCESS;
    }
    let default = profile.default_action().as_u32(profile.default_errno_ret());
    let calls = profile.syscalls().iter().flatten();
    let mut conditional = None;
    let mut newest = None;
    for rule in calls {
        let action = rule.action().as_u32(rule.errno_ret());
        for number in rule.names().iter().filter_map(|name| architecture.number(name)) {
            newest = newest.max(Some(number));
            if number != data.number || action == default {
                continue;
            }
            let arguments = rule.args().as_deref().unwrap_or_default();
            if arguments.is_empty() {
                return action;
            }
            if holds(arguments, data, architecture.is_wide()) {
                conditional.get_or_insert(action);
            }
        }
    }
    // A rule without conditions further down beats this one, hence not returned at once.
    if let Some(action) = conditional {
        return action;
    }
    match newest {
        Some(newest) if data.number > newest && default >> 16 == 5 => ENOSYS,
        _ => default,
    }
}

fn holds(arguments: &[LinuxSeccompArg], data: Call, wide: bool) -> bool {
    let width = if wide { u64::MAX } else { u64::from(u32::MAX) };
    let one = |argument: &LinuxSeccompArg| {
        let actual = data.arguments[argument.index()] & width;
        let value = argument.value() & width;
        match argument.op() {
            Operator::ScmpCmpNe => actual != value,
            Operator::ScmpCmpLt => actual < value,
            Operator::ScmpCmpLe => actual <= value,
            Operator::ScmpCmpEq => actual == value,
            Operator::ScmpCmpGe => actual >= value,
            Operator::ScmpCmpGt => actual > value,
            Operator::ScmpCmpMaskedEq => actual & value == argument.value_two().unwrap_or(0) & width,
        }
    };
    let repeated =
        (0..6).any(|index| arguments.iter().filter(|argument| argument.index() == index).count() > 1);
    if repeated { arguments.iter().any(one) } else { arguments.iter().all(one) }
}

fn profile(json: &str) -> LinuxSeccomp {
    serde_json::from_str(json).unwrap()
}

/// Compiles, then compares `number(first argument) -> action` on one architecture.
fn check(json: &str, architecture: u32, expect: &[(u32, u64, u32)]) -> Filter {
    let profile = profile(json);
    let filter = compile(&profile).unwrap();
    let program = filter.instructions();
    for (number, first, action) in expect {
        let data = call(architecture, *number, *first);
        assert_eq!(run(&program, data).0, *action, "call {number}({first:#x}) of\n{json}");
        assert_eq!(
            evaluate(&profile, data),
            *action,
            "the evaluator on call {number}({first:#x}) of\n{json}"
        );
    }
    filter
}

#[test]
fn every_action() {
    let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
        {"names":["read"],"action":"SCMP_ACT_KILL_PROCESS"}, {"names":["write"],"action":"SCMP_ACT_KILL_THREAD"},
        {"names":["open"],"action":"SCMP_ACT_KILL"},         {"names":["close"],"action":"SCMP_ACT_TRAP"},
        {"names":["stat"],"action":"SCMP_ACT_ERRNO"},        {"names":["fstat"],"action":"SCMP_ACT_ERRNO","errnoRet":13},
        {"names":["lstat"],"action":"SCMP_ACT_TRACE","errnoRet":7}, {"names":["poll"],"action":"SCMP_ACT_LOG"},
        {"names":["lseek"],"action":"SCMP_ACT_NOTIFY"},      {"names":["mmap","no_such_call"],"action":"SCMP_ACT_ALLOW"}]}"#;
    let expect = [
        (0, KILL_PROCESS),
        (1, 0),
        (2, 0),
        (3, 0x0003_0000),
        (4, EPERM),
        (5, 0x0005_000d),
        (6, 0x7ff0_0007),
        (7, 0x7ffc_0000),
        (8, 0x7fc0_0000),
        (9, ALLOW),
        (10, ALLOW),
        (5000, ALLOW),
        (u32::MAX, ALLOW),
    ];
    let filter = check(json, X86_64, &expect.map(|(number, action)| (number, 0, action)));
    assert!(filter.notifies());
}

#[test]
fn every_operator_on_both_halves() {
    const V: u64 = 0x5_0000_0007;
    let around =
        [0, 7, 8, V - 1, V, V + 1, 0x4_0000_0008, 0x4_ffff_ffff, 0x6_0000_0000, 0x6_0000_0007, u64::MAX];
    type Holds = fn(u64) -> bool;
    let operators: [(&str, Holds); 6] = [
        ("NE", |a| a != V),
        ("LT", |a| a < V),
        ("LE", |a| a <= V),
        ("EQ", |a| a == V),
        ("GE", |a| a >= V),
        ("GT", |a| a > V),
    ];
    for (operator, holds) in operators {
        let json = format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":["read","write"],"action":"SCMP_ACT_ALLOW",
                "args":[{{"index":0,"value":{V},"op":"SCMP_CMP_{operator}"}}]}}]}}"#
        );
        let expect = around.map(|first| (0, first, if holds(first) { ALLOW } else { EPERM }));
        check(&json, X86_64, &expect);
    }
    let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW",
        "args":[{"index":0,"value":1095216660735,"valueTwo":4294967297,"op":"SCMP_CMP_MASKED_EQ"}]}]}"#;
    check(
        json,
        X86_64,
        &[
            (0, 0x1_0000_0001, ALLOW),
            (0, 0xff01_0000_0101, ALLOW),
            (0, 0x1_0000_0003, EPERM),
            (0, 1, EPERM),
            (0, 0xf00_0000_0000 | 0x1_0000_0001, ALLOW),
        ],
    );
}

#[test]
fn conditions_and_rules_combine() {
    let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
        {"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":3,"op":"SCMP_CMP_EQ"},{"index":0,"value":9,"op":"SCMP_CMP_EQ"}]},
        {"names":["write"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":3,"op":"SCMP_CMP_GE"},{"index":1,"value":0,"op":"SCMP_CMP_EQ"}]},
        {"names":["open"],"action":"SCMP_ACT_LOG","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]},
        {"names":["open"],"action":"SCMP_ACT_ALLOW"},
        {"names":["close"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]},
        {"names":["close"],"action":"SCMP_ACT_LOG","args":[{"index":0,"value":2,"op":"SCMP_CMP_LE"}]},
        {"names":["stat"],"action":"SCMP_ACT_ERRNO"}]}"#;
    check(
        json,
        X86_64,
        &[
            (0, 3, ALLOW),
            (0, 9, ALLOW),
            (0, 4, EPERM),
            (1, 3, ALLOW),
            (1, 2, EPERM),
            (2, 1, ALLOW),
            (2, 2, ALLOW),
            (3, 1, ALLOW),
            (3, 2, 0x7ffc_0000),
            (3, 3, EPERM),
            (4, 0, EPERM),
        ],
    );
    let second = Call { number: 1, architecture: X86_64, arguments: [3, 1, 0, 0, 0, 0] };
    assert_eq!(run(&compile(&profile(json)).unwrap().instructions(), second).0, EPERM);
}

#[test]
fn architectures_and_new_calls() {
    let json = |more: &str| {
        format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"{more}],
            "syscalls":[{{"names":["read","write","openat2"],"action":"SCMP_ACT_ALLOW"}}]}}"#
        )
    };
    let native = json("");
    check(
        &native,
        X86_64,
        &[
            (0, 0, ALLOW),
            (2, 0, EPERM),
            (437, 0, ALLOW),
            (438, 0, ENOSYS),
            (X32_BIT, 0, KILL_PROCESS),
            (u32::MAX, 0, ENOSYS),
        ],
    );
    check(&native, X86, &[(3, 0, KILL_PROCESS)]);
    check(&native, 0x1234, &[(3, 0, KILL_PROCESS)]);
    let all = json(r#","SCMP_ARCH_X86","SCMP_ARCH_X32","SCMP_ARCH_MIPS","SCMP_ARCH_ARM""#);
    check(&all, X86_64, &[(X32_BIT | 1, 0, ALLOW), (X32_BIT | 2, 0, EPERM), (X32_BIT | 438, 0, ENOSYS)]);
    check(&all, X86, &[(3, 0, ALLOW), (5, 0, EPERM), (437, 0, ALLOW), (438, 0, ENOSYS)]);
    // A default that already says ENOSYS, or lets a supervisor decide, is left alone.
    check(
        r#"{"defaultAction":"SCMP_ACT_LOG","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}"#,
        X86_64,
        &[(400, 0, 0x7ffc_0000)],
    );
    check(r#"{"defaultAction":"SCMP_ACT_ERRNO"}"#, X86_64, &[(0, 0, EPERM), (4000, 0, EPERM)]);
}

#[test]
fn flags() {
    let with = |json: &str| compile(&profile(json)).unwrap().flags();
    assert_eq!(with(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#), sys::seccomp::FLAG_SPEC_ALLOW);
    assert_eq!(with(r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":[]}"#), 0);
    let mut all = profile(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#);
    all.set_flags(Some(vec![
        Flag::SeccompFilterFlagLog,
        Flag::SeccompFilterFlagTsync,
        Flag::SeccompFilterFlagWaitKillableRecv,
    ]));
    assert_eq!(compile(&all).unwrap().flags(), 3);
    all.set_syscalls(Some(vec![rule(&["read"], Action::ScmpActNotify, &[])]));
    assert_eq!(compile(&all).unwrap().flags(), 3 | 8 | 32);
}

#[test]
fn wrong_profiles() {
    let error = |json: &str| compile(&profile(json)).unwrap_err();
    let wide = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#;
    assert!(matches!(error(wide), CompileError::Argument { index: 6, .. }));
    assert!(matches!(error(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#), CompileError::Notify { .. }));
    let args: Vec<_> = (0..2000).map(|value| (0, Operator::ScmpCmpEq, value, 0)).collect();
    let mut long = profile(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#);
    long.set_syscalls(Some(vec![rule(&["read"], Action::ScmpActLog, &args)]));
    assert!(matches!(compile(&long), Err(CompileError::TooLong(_))));
}

#[test]
fn tables_are_sorted_and_match_libc() {
    let rows = super::syscalls::SYSCALLS;
    assert!(rows.windows(2).all(|pair| pair[0].0 < pair[1].0));
    for (name, number) in
        [("read", 0), ("clone3", 435), ("execve", 59), ("file_setattr", 469), ("uretprobe", 335)]
    {
        assert_eq!(Architecture::X86_64.number(name), Some(number));
    }
    assert_eq!(Architecture::X32.number("execve"), Some(X32_BIT | 520));
    assert_eq!(Architecture::X86.number("socketcall"), Some(102));
    assert_eq!(Architecture::Aarch64.number("openat"), Some(56));
    assert_eq!(Architecture::Arm.number("set_tls"), Some(0xf_0005));
    assert_eq!(Architecture::Aarch64.number("open"), None);
}

// === the default profile ===

fn capabilities(names: &[&str]) -> u64 {
    sys::capability::parse(names.iter().copied()).unwrap()
}

#[test]
fn default_profile_by_capability() {
    let number = |name| Architecture::X86_64.number(name).unwrap();
    let judge = |caps: &[&str], name, first| {
        let program = compile(&runtime_default(capabilities(caps))).unwrap().instructions();
        run(&program, call(X86_64, number(name), first)).0
    };
    for (caps, name, first, expect) in [
        (&[][..], "read", 0, ALLOW),
        (&[], "ptrace", 0, ALLOW),
        (&[], "mount", 0, EPERM),
        (&["CAP_SYS_ADMIN"], "mount", 0, ALLOW),
        (&[], "io_uring_setup", 0, EPERM),
        (&["CAP_SYS_ADMIN"], "io_uring_setup", 0, EPERM),
        (&[], "clone", 0x11, ALLOW),
        (&[], "clone", 0x1000_0000, EPERM),
        (&[], "clone", 0x2000_0000 | 0x11, EPERM),
        (&["CAP_SYS_ADMIN"], "clone", 0x1000_0000, ALLOW),
        (&[], "clone3", 0, ENOSYS),
        (&["CAP_SYS_ADMIN"], "clone3", 0, ALLOW),
        (&[], "socket", 2, ALLOW),
        (&[], "socket", 38, EPERM),
        (&[], "socket", 40, EPERM),
        (&[], "socket", 44, ALLOW),
        (&[], "socket", (1 << 32) | 40, EPERM),
        (&[], "socket", 46, EPERM),
        (&[], "personality", 0, ALLOW),
        (&[], "personality", 0xffff_ffff, ALLOW),
        (&[], "personality", 0x40000, EPERM),
        (&[], "arch_prctl", 0, ALLOW),
        (&[], "chroot", 0, EPERM),
        (&["CAP_SYS_CHROOT"], "chroot", 0, ALLOW),
        (&["CAP_BPF"], "bpf", 0, ALLOW),
        (&["CAP_SYSLOG"], "syslog", 0, ALLOW),
        (&["CAP_SYS_TIME"], "clock_settime", 0, ALLOW),
        (&[], "keyctl", 0, EPERM),
        (&[], "file_setattr", 0, ENOSYS),
    ] {
        assert_eq!(judge(caps, name, first), expect, "{name}({first:#x}) with {caps:?}");
    }
}

/// Size and speed of the default profile are figures we state, so they are held.
#[test]
fn default_profile_is_small_and_fast() {
    let program = compile(&runtime_default(0)).unwrap().instructions();
    let steps = |number| run(&program, call(X86_64, number, 0)).1;
    let longest = (0..470).map(steps).max().unwrap();
    let sum: usize = (0..470).map(steps).sum();
    println!(
        "default profile: {} instructions; {} steps on average, {longest} at most",
        program.len(),
        sum / 470
    );
    assert!(program.len() < 1200, "{}", program.len());
    assert!(sum / 470 < 16, "{}", sum / 470);
}

#[test]
fn default_profile_agrees_with_the_evaluator_everywhere() {
    for caps in
        [0, capabilities(&["CAP_SYS_ADMIN"]), capabilities(&["CAP_SYS_PTRACE", "CAP_SYS_NICE"]), u64::MAX]
    {
        let profile = runtime_default(caps);
        let program = compile(&profile).unwrap().instructions();
        for (architecture, base) in [(X86_64, 0), (X86_64, X32_BIT), (X86, 0)] {
            for number in (0..600).map(|number| base | number) {
                for first in [0, 1, 2, 12, 38, 40, 0x11, 0x2_0000, 0x1000_0000, 0xffff_ffff, 1 << 40] {
                    let data = call(architecture, number, first);
                    assert_eq!(run(&program, data).0, evaluate(&profile, data), "{data:x?}");
                }
            }
        }
    }
}

// === any profile ===

fn rule(names: &[&str], action: Action, args: &[(usize, Operator, u64, u64)]) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.iter().map(|name| (*name).to_owned()).collect()).set_action(action);
    let argument = |(index, op, value, two): &(usize, Operator, u64, u64)| {
        LinuxSeccompArgBuilder::default().index(*index).op(*op).value(*value).value_two(*two).build().unwrap()
    };
    if !args.is_empty() {
        rule.set_args(Some(args.iter().map(argument).collect()));
    }
    rule
}

fn any_value() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..4_u64,
        Just(0xffff_ffff),
        Just(0x1_0000_0000),
        Just(0x1_0000_0001),
        Just(u64::MAX),
        any::<u64>()
    ]
}

fn any_rule() -> impl Strategy<Value = LinuxSyscall> {
    let operator = prop::sample::select(vec![
        Operator::ScmpCmpNe,
        Operator::ScmpCmpLt,
        Operator::ScmpCmpLe,
        Operator::ScmpCmpEq,
        Operator::ScmpCmpGe,
        Operator::ScmpCmpGt,
        Operator::ScmpCmpMaskedEq,
    ]);
    let action = prop::sample::select(vec![
        Action::ScmpActKillProcess,
        Action::ScmpActTrap,
        Action::ScmpActErrno,
        Action::ScmpActLog,
        Action::ScmpActAllow,
    ]);
    let names = prop::collection::vec(0..super::syscalls::SYSCALLS.len(), 1..40);
    let args = prop::collection::vec((0..6_usize, operator, any_value(), any_value()), 0..4);
    (names, action, args).prop_map(|(names, action, args)| {
        let names: Vec<&str> = names.into_iter().map(|row| super::syscalls::SYSCALLS[row].0).collect();
        rule(&names, action, &args)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn filter_means_what_the_profile_says(
        rules in prop::collection::vec(any_rule(), 0..12),
        default in prop::sample::select(vec![Action::ScmpActErrno, Action::ScmpActAllow, Action::ScmpActLog]),
        foreign in any::<bool>(),
        arguments in prop::collection::vec(any_value(), 6),
    ) {
        let mut profile = LinuxSeccomp::default();
        profile.set_default_action(default).set_syscalls(Some(rules));
        if foreign {
            profile.set_architectures(Some(vec![Arch::ScmpArchX86, Arch::ScmpArchX32]));
        }
        let compiled = compile(&profile);
        // Some of these are more than a kernel takes; that is said, not cut short.
        prop_assume!(!matches!(compiled, Err(CompileError::TooLong(_))));
        let program = compiled.unwrap().instructions();
        let arguments: [u64; 6] = arguments.try_into().unwrap();
        for (architecture, base) in [(X86_64, 0), (X86_64, X32_BIT), (X86, 0), (7, 0)] {
            for number in (0..480).map(|number| base | number).chain([u32::MAX]) {
                let data = Call { number, architecture, arguments };
                prop_assert_eq!(run(&program, data).0, evaluate(&profile, data), "{:x?}", data);
            }
        }
    }
}

// === the kernel ===

/// Filters belong to a thread, so a thread of its own may load one and end.
#[test]
fn the_kernel_agrees() {
    std::thread::spawn(|| {
        let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["getppid"],"action":"SCMP_ACT_ERRNO","errnoRet":77},
            {"names":["lseek"],"action":"SCMP_ACT_ERRNO","errnoRet":78,"args":[{"index":1,"value":4294967296,"op":"SCMP_CMP_GT"}]}]}"#;
        nix::sys::prctl::set_no_new_privs().unwrap();
        compile(&profile(json)).unwrap().load().unwrap();
        use std::io::{Seek, SeekFrom};
        let mut file = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(file.seek(SeekFrom::Start(1 << 32)).unwrap(), 1 << 32);
        assert_eq!(file.seek(SeekFrom::Start((1 << 32) + 1)).unwrap_err().raw_os_error(), Some(78));
    })
    .join()
    .unwrap();
}

/// Ordinary life goes on under the default profile, and namespaces stay shut.
#[test]
fn the_default_profile_in_the_kernel() {
    std::thread::spawn(|| {
        nix::sys::prctl::set_no_new_privs().unwrap();
        compile(&runtime_default(0)).unwrap().load().unwrap();
        assert!(std::fs::read("/proc/self/status").unwrap().len() > 100);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        std::thread::spawn(|| ()).join().unwrap();
        let output = std::process::Command::new("/bin/sh").args(["-c", "echo $((6*7))"]).output().unwrap();
        assert_eq!(output.stdout, b"42\n");
        let refused = std::process::Command::new("/usr/bin/unshare").args(["-U", "true"]).output().unwrap();
        assert!(String::from_utf8_lossy(&refused.stderr).contains("not permitted"), "{refused:?}");
    })
    .join()
    .unwrap();
}

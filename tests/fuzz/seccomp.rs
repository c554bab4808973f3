//! The seccomp compiler: whatever profile it takes, its filter is one that ends, with an answer, and jumps nowhere else.

use oci::seccomp;
use oci_spec::runtime::LinuxSeccomp;

use crate::mutate::{self, Verdict};

const CORPUS: [&[u8]; 3] = [
    br#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],"flags":["SECCOMP_FILTER_FLAG_LOG"],"syscalls":[{"names":["read","write","openat"],"action":"SCMP_ACT_ALLOW"},{"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":40,"op":"SCMP_CMP_NE"}]}]}"#,
    br#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["personality"],"action":"SCMP_ACT_KILL_PROCESS","args":[{"index":0,"value":8,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"},{"index":1,"value":1,"op":"SCMP_CMP_GE"},{"index":1,"value":9,"op":"SCMP_CMP_LT"}]}]}"#,
    br#"{"defaultAction":"SCMP_ACT_LOG","architectures":["SCMP_ARCH_AARCH64","SCMP_ARCH_ARM"],"listenerPath":"/s","listenerMetadata":"m","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"},{"names":["clone"],"action":"SCMP_ACT_TRACE","errnoRet":5}]}"#,
];

const WORDS: [&str; 24] = [
    "SCMP_ACT_KILL",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_NATIVE",
    "clone3",
    "execve",
    "sendmsg",
    "setxattrat",
    "nosuchcall",
    "restart_syscall",
    "ioctl",
];

/// More than any filter of the kernel's size can take.
const STEPS_MAX: usize = 4096;

#[test]
fn seccomp_profiles() {
    mutate::run("seccomp", &CORPUS, &WORDS, |input| {
        let Ok(profile) = serde_json::from_slice::<LinuxSeccomp>(input) else { return Verdict::Refused };
        let Ok(filter) = seccomp::compile(&profile) else { return Verdict::Refused };
        let program = filter.instructions();
        assert!((1..=4096).contains(&program.len()), "{} instructions", program.len());
        for (architecture, number) in [
            (0xc000_003e, 0),
            (0xc000_003e, 1),
            (0xc000_003e, 0x4000_0001),
            (0x4000_0003, 40),
            (0xc000_00b7, 500),
            (7, 7),
            (0xc000_003e, u32::MAX),
        ] {
            for argument in [0, 8, 40, u64::MAX, 1 << 32] {
                answers(&program, architecture, number, argument);
            }
        }
        Verdict::Understood
    });
}

/// Runs the filter as the kernel would.
fn answers(program: &[sys::seccomp::Instruction], architecture: u32, number: u32, argument: u64) {
    let (mut at, mut value) = (0_usize, 0_u32);
    for _ in 0..STEPS_MAX {
        let one = program.get(at).unwrap_or_else(|| panic!("a jump to {at} of {}", program.len()));
        at += 1;
        let jump = |holds: bool| usize::from(if holds { one.jump_true } else { one.jump_false });
        match one.code {
            0x20 => {
                value = match one.value {
                    0 => number,
                    4 => architecture,
                    word if (16..64).contains(&word) && word % 8 == 0 => argument as u32,
                    word if (16..64).contains(&word) && word % 8 == 4 => (argument >> 32) as u32,
                    word => panic!("load from {word}"),
                }
            }
            0x54 => value &= one.value,
            0x05 => at += one.value as usize,
            0x15 => at += jump(value == one.value),
            0x25 => at += jump(value > one.value),
            0x35 => at += jump(value >= one.value),
            0x06 => return,
            code => panic!("opcode {code:#x}"),
        }
    }
    panic!("no answer after {STEPS_MAX} steps");
}

//! Device rules as an eBPF program for cgroup2.
//!
//! The kernel asks with a kind, two numbers and a set of accesses; all of them must be allowed. The program goes
//! from the last rule to the first and keeps the accesses that no rule has decided yet: a matching allow takes its
//! accesses off, a matching deny notes them. The answer is 1 when nothing was noted and nothing is left. So access by
//! access the last matching rule decides, as with v1.
//!
//! There is no jump: a rule's match is a mask of all ones or zeros, made by arithmetic. The kernel's verifier walks both ways of
//! each jump and copies its state for that, which for the default rules took five times as long as all else about them.
//!
//! Reference: Documentation/bpf/instruction-set.rst; `struct bpf_cgroup_dev_ctx`.

use super::{EVERY_ACCESS, Kind, Rule};
use sys::bpf::Instruction;

/// Fields of the context: access in the high half and kind in the low half of the first word.
const ACCESS_AND_KIND: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;
const KIND_BLOCK: i32 = 1;
const KIND_CHARACTER: i32 = 2;

const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const MAJOR_REGISTER: u8 = 3;
const MINOR_REGISTER: u8 = 4;
/// Accesses not decided yet.
const OPEN: u8 = 5;
/// Accesses that were open when a rule denied them.
const DENIED: u8 = 6;
/// All ones when the rule at hand matches.
const MATCH: u8 = 7;
const SCRATCH: u8 = 8;

/// Opcodes on 64 bits, by operation and whether the operand is a constant. What is loaded are 32 bits and zeros.
const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbf;
const MOVE: u8 = 0xb7;
const ADD: u8 = 0x07;
const AND: u8 = 0x57;
const AND_REGISTER: u8 = 0x5f;
const OR_REGISTER: u8 = 0x4f;
const XOR: u8 = 0xa7;
const SHIFT_RIGHT: u8 = 0x77;
const SHIFT_RIGHT_SIGNED: u8 = 0xc7;
/// On 32 bits, the upper half becomes zeros: a constant of 32 bits is meant as it is.
const XOR_WORD: u8 = 0xa4;
const EXIT: u8 = 0x95;

pub(super) fn instructions(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        load(KIND, ACCESS_AND_KIND),
        register(MOVE_REGISTER, OPEN, KIND),
        constant(SHIFT_RIGHT, OPEN, 16),
        constant(AND, OPEN, i32::from(EVERY_ACCESS)),
        constant(AND, KIND, 0xffff),
        load(MAJOR_REGISTER, MAJOR),
        load(MINOR_REGISTER, MINOR),
        constant(MOVE, DENIED, 0),
    ];
    let mut rest = rules;
    while !rest.is_empty() {
        let family = family(rest);
        program.extend(matching(family));
        program.extend(decide(&family[0]));
        rest = &rest[..rest.len() - family.len()];
    }
    program.extend([
        register(OR_REGISTER, OPEN, DENIED),
        register(MOVE_REGISTER, ANSWER, OPEN),
        // Only of zero does taking one away set the highest bit.
        constant(ADD, ANSWER, -1),
        constant(SHIFT_RIGHT, ANSWER, 63),
        Instruction { code: EXIT, registers: 0, offset: 0, immediate: 0 },
    ]);
    program
}

/// The last rules that differ in nothing but their minor number: they decide as one.
fn family(rules: &[Rule]) -> &[Rule] {
    let Some(last) = rules.last() else { return rules };
    let alike = |rule: &&Rule| Rule { minor: last.minor, ..**rule } == *last && rule.minor.is_some();
    let count = rules.iter().rev().take_while(alike).count();
    &rules[rules.len() - count.max(1)..]
}

/// Makes the mask of a family: its kind, its major number and one of its minor numbers.
fn matching(family: &[Rule]) -> Vec<Instruction> {
    let kind = family[0].kind.map(|kind| match kind {
        Kind::Block => KIND_BLOCK,
        Kind::Character => KIND_CHARACTER,
    });
    let mut made = vec![constant(MOVE, MATCH, -1)];
    for (from, wanted) in [(KIND, kind), (MAJOR_REGISTER, family[0].major.map(|major| major as i32))] {
        let Some(wanted) = wanted else { continue };
        made.extend(equal(from, wanted));
        made.push(register(AND_REGISTER, MATCH, SCRATCH));
    }
    let minors: Vec<i32> = family.iter().filter_map(|rule| rule.minor).map(|minor| minor as i32).collect();
    if minors.is_empty() {
        return made;
    }
    made.push(constant(MOVE, ANSWER, 0));
    for minor in minors {
        made.extend(equal(MINOR_REGISTER, minor));
        made.push(register(OR_REGISTER, ANSWER, SCRATCH));
    }
    made.push(register(AND_REGISTER, MATCH, ANSWER));
    made
}

/// All ones in the scratch register when the two are equal, zeros when not.
fn equal(from: u8, wanted: i32) -> [Instruction; 4] {
    [
        register(MOVE_REGISTER, SCRATCH, from),
        constant(XOR_WORD, SCRATCH, wanted),
        constant(ADD, SCRATCH, -1),
        constant(SHIFT_RIGHT_SIGNED, SCRATCH, 63),
    ]
}

fn decide(rule: &Rule) -> Vec<Instruction> {
    let mut made = vec![constant(AND, MATCH, i32::from(rule.access))];
    if !rule.allow {
        made.extend([
            register(MOVE_REGISTER, SCRATCH, MATCH),
            register(AND_REGISTER, SCRATCH, OPEN),
            register(OR_REGISTER, DENIED, SCRATCH),
        ]);
    }
    made.extend([constant(XOR, MATCH, -1), register(AND_REGISTER, OPEN, MATCH)]);
    made
}

fn load(to: u8, offset: i16) -> Instruction {
    Instruction { code: LOAD_WORD, registers: to | CONTEXT << 4, offset, immediate: 0 }
}

fn register(code: u8, to: u8, from: u8) -> Instruction {
    Instruction { code, registers: to | from << 4, offset: 0, immediate: 0 }
}

fn constant(code: u8, to: u8, immediate: i32) -> Instruction {
    Instruction { code, registers: to, offset: 0, immediate }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::devices::{MKNOD, READ, WRITE};
    use proptest::prelude::*;

    fn run(program: &[Instruction], kind: Kind, major: u32, minor: u32, access: u8) -> bool {
        let mut registers = [0_u64; 9];
        let kind = if kind == Kind::Block { 1 } else { 2 };
        for one in program {
            let (to, from) = (usize::from(one.registers & 15), usize::from(one.registers >> 4));
            // A constant is extended by its sign.
            let immediate = i64::from(one.immediate) as u64;
            match one.code {
                LOAD_WORD => {
                    registers[to] = match one.offset {
                        ACCESS_AND_KIND => u64::from(access) << 16 | kind,
                        MAJOR => major.into(),
                        MINOR => minor.into(),
                        offset => panic!("load from {offset}"),
                    }
                }
                MOVE_REGISTER => registers[to] = registers[from],
                MOVE => registers[to] = immediate,
                ADD => registers[to] = registers[to].wrapping_add(immediate),
                AND => registers[to] &= immediate,
                AND_REGISTER => registers[to] &= registers[from],
                OR_REGISTER => registers[to] |= registers[from],
                XOR => registers[to] ^= immediate,
                XOR_WORD => registers[to] = (registers[to] as u32 ^ one.immediate as u32).into(),
                SHIFT_RIGHT => registers[to] >>= immediate,
                SHIFT_RIGHT_SIGNED => registers[to] = (registers[to] as i64 >> immediate) as u64,
                EXIT => break,
                code => panic!("opcode {code:#x}"),
            }
        }
        assert!(registers[0] <= 1);
        registers[0] == 1
    }

    /// Access by access, the last matching rule decides.
    fn evaluate(rules: &[Rule], kind: Kind, major: u32, minor: u32, access: u8) -> bool {
        [MKNOD, READ, WRITE].into_iter().filter(|bit| access & bit != 0).all(|bit| {
            let matches = |rule: &&Rule| {
                rule.access & bit != 0
                    && rule.kind.is_none_or(|wanted| wanted == kind)
                    && rule.major.is_none_or(|wanted| wanted == major)
                    && rule.minor.is_none_or(|wanted| wanted == minor)
            };
            rules.iter().rev().find(matches).is_some_and(|rule| rule.allow)
        })
    }

    fn any_kind() -> impl Strategy<Value = Kind> {
        prop_oneof![Just(Kind::Block), Just(Kind::Character)]
    }

    /// Few, so that rules match, and some with the highest bit.
    fn some_number() -> impl Strategy<Value = u32> {
        prop_oneof![0..4_u32, u32::MAX - 1..=u32::MAX, Just(1 << 31)]
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let number = || prop::option::of(some_number());
        let access = prop_oneof![1..8_u8, Just(EVERY_ACCESS)];
        (any::<bool>(), prop::option::of(any_kind()), number(), number(), access)
            .prop_map(|(allow, kind, major, minor, access)| Rule { allow, kind, major, minor, access })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn last_match_decides(
            rules in prop::collection::vec(any_rule(), 0..12),
            kind in any_kind(), major in some_number(), minor in some_number(), access in 1..8_u8,
        ) {
            let program = instructions(&rules);
            let expect = evaluate(&rules, kind, major, minor, access);
            prop_assert_eq!(run(&program, kind, major, minor, access), expect);
        }
    }
}

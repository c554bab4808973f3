//! Device rules as an eBPF program for cgroup2.
//!
//! The kernel asks with a kind, two numbers and a set of accesses; all of them must be allowed. The program goes
//! from the last rule to the first and keeps the accesses that no rule has decided yet: a matching deny of one of
//! them answers 0, a matching allow takes its accesses off, and 1 is the answer once none is left. Whoever is
//! still undecided at the end is denied. So access by access the last matching rule decides, as with v1.
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
const SCRATCH: u8 = 6;

/// Opcodes: class, operation and whether the operand is a constant.
const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbc;
const MOVE: u8 = 0xb4;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP_EQUAL: u8 = 0x16;
const JUMP_NOT_EQUAL: u8 = 0x56;
const EXIT: u8 = 0x95;

pub(super) fn instructions(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        load(KIND, ACCESS_AND_KIND),
        register(MOVE_REGISTER, OPEN, KIND),
        constant(SHIFT_RIGHT, OPEN, 16),
        constant(AND, KIND, 0xffff),
        load(MAJOR_REGISTER, MAJOR),
        load(MINOR_REGISTER, MINOR),
    ];
    let mut rest = rules;
    while let Some((rule, before)) = rest.split_last() {
        let total = rule.kind.is_none()
            && rule.major.is_none()
            && rule.minor.is_none()
            && rule.access == EVERY_ACCESS;
        if total {
            program.extend(answer(rule.allow));
            // Nothing before this rule can matter, and the verifier refuses what cannot be reached.
            return program;
        }
        let family = family(rest);
        if family.len() > 1 {
            program.extend(several(family));
            rest = &rest[..rest.len() - family.len()];
        } else {
            program.extend(one(rule));
            rest = before;
        }
    }
    program.extend(answer(false));
    program
}

/// The last rules that differ in nothing but their minor number and decide every access: any order of them means the same.
fn family(rules: &[Rule]) -> &[Rule] {
    let Some(last) = rules.last() else { return rules };
    let alike = |rule: &&Rule| {
        let whole = rule.access == EVERY_ACCESS && rule.minor.is_some() && rule.major.is_some();
        whole && (rule.allow, rule.kind, rule.major) == (last.allow, last.kind, last.major)
    };
    let count = rules.iter().rev().take_while(alike).count();
    &rules[rules.len() - count..]
}

/// One look at kind and major number, then one comparison for each minor.
fn several(family: &[Rule]) -> Vec<Instruction> {
    let minors: Vec<i32> = family.iter().filter_map(|rule| rule.minor).map(|minor| minor as i32).collect();
    let mut body: Vec<Instruction> = Vec::new();
    for (index, minor) in minors.iter().enumerate() {
        // To the answer, which follows the last comparison; that one skips it.
        let left = (minors.len() - 1 - index) as i16;
        body.push(match left {
            0 => jump(JUMP_NOT_EQUAL, MINOR_REGISTER, *minor, 2),
            left => jump(JUMP_EQUAL, MINOR_REGISTER, *minor, left),
        });
    }
    body.extend(answer(family[0].allow));
    skipping(family[0].kind, family[0].major, None, body)
}

/// A rule's checks, each skipping the rest of the rule when it does not match.
fn one(rule: &Rule) -> Vec<Instruction> {
    let access = i32::from(rule.access);
    let decide = if rule.access == EVERY_ACCESS {
        // Whatever is open is decided. Most rules are such, and the verifier has fewer states to walk through.
        answer(rule.allow).to_vec()
    } else if rule.allow {
        // Undecided accesses lose ours; when none is left, the answer is yes.
        let mut body = vec![
            constant(AND, OPEN, i32::from(!rule.access & EVERY_ACCESS)),
            jump(JUMP_NOT_EQUAL, OPEN, 0, 2),
        ];
        body.extend(answer(true));
        body
    } else {
        let mut body = vec![
            register(MOVE_REGISTER, SCRATCH, OPEN),
            constant(AND, SCRATCH, access),
            jump(JUMP_EQUAL, SCRATCH, 0, 2),
        ];
        body.extend(answer(false));
        body
    };
    skipping(rule.kind, rule.major, rule.minor, decide)
}

/// The tests that go before a rule's decision; each skips the rest of it.
fn skipping(
    kind: Option<Kind>,
    major: Option<u32>,
    minor: Option<u32>,
    decide: Vec<Instruction>,
) -> Vec<Instruction> {
    let kind = kind.map(|kind| match kind {
        Kind::Block => KIND_BLOCK,
        Kind::Character => KIND_CHARACTER,
    });
    let tests = [
        (KIND, kind),
        (MAJOR_REGISTER, major.map(|major| major as i32)),
        (MINOR_REGISTER, minor.map(|minor| minor as i32)),
    ];
    let mut reversed: Vec<Instruction> = decide.into_iter().rev().collect();
    for (from, wanted) in tests.into_iter().rev().filter_map(|(from, wanted)| Some((from, wanted?))) {
        reversed.push(jump(JUMP_NOT_EQUAL, from, wanted, reversed.len() as i16));
    }
    reversed.reverse();
    reversed
}

fn answer(allow: bool) -> [Instruction; 2] {
    [
        constant(MOVE, ANSWER, i32::from(allow)),
        Instruction { code: EXIT, registers: 0, offset: 0, immediate: 0 },
    ]
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

/// Compares the low 32 bits, so that a number above 2^31 compares as it is meant.
fn jump(code: u8, register: u8, immediate: i32, offset: i16) -> Instruction {
    Instruction { code, registers: register, offset, immediate }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::devices::{MKNOD, READ, WRITE};
    use proptest::prelude::*;

    fn run(program: &[Instruction], kind: Kind, major: u32, minor: u32, access: u8) -> bool {
        let mut registers = [0_u32; 7];
        let mut at = 0;
        let kind = if kind == Kind::Block { 1 } else { 2 };
        loop {
            let one = program[at];
            at += 1;
            let (to, from) = (usize::from(one.registers & 15), usize::from(one.registers >> 4));
            let immediate = one.immediate as u32;
            match one.code {
                LOAD_WORD => {
                    registers[to] = match one.offset {
                        ACCESS_AND_KIND => u32::from(access) << 16 | kind,
                        MAJOR => major,
                        MINOR => minor,
                        offset => panic!("load from {offset}"),
                    }
                }
                MOVE_REGISTER => registers[to] = registers[from],
                MOVE => registers[to] = immediate,
                AND => registers[to] &= immediate,
                SHIFT_RIGHT => registers[to] >>= immediate,
                JUMP_EQUAL if registers[to] == immediate => at += one.offset as usize,
                JUMP_NOT_EQUAL if registers[to] != immediate => at += one.offset as usize,
                JUMP_EQUAL | JUMP_NOT_EQUAL => {}
                EXIT => return registers[0] == 1,
                code => panic!("opcode {code:#x}"),
            }
        }
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

    fn any_rule() -> impl Strategy<Value = Rule> {
        let number = || prop::option::of(0..4_u32);
        let access = prop_oneof![1..8_u8, Just(EVERY_ACCESS)];
        (any::<bool>(), prop::option::of(any_kind()), number(), number(), access)
            .prop_map(|(allow, kind, major, minor, access)| Rule { allow, kind, major, minor, access })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn last_match_decides(
            rules in prop::collection::vec(any_rule(), 0..12),
            kind in any_kind(), major in 0..4_u32, minor in 0..4_u32, access in 1..8_u8,
        ) {
            let program = instructions(&rules);
            let expect = evaluate(&rules, kind, major, minor, access);
            prop_assert_eq!(run(&program, kind, major, minor, access), expect);
        }
    }
}

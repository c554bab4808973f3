//! Tables to classic BPF.
//!
//! Jumps go forward only and conditional ones skip at most 255 instructions. So the program is written from
//! its end to its start: when a jump is emitted its targets exist, and one that is too far away gets a stop on
//! the way: a copy of the return it leads to, or an unconditional jump, which has 32 bits.
//!
//! **Invariant**: a label is an index into the reversed program; the instruction with the higher index runs first.

use super::CompileError;
use super::architecture::{Architecture, X32_BIT};
use super::rules::{Condition, FOREIGN, Table, Verdict};
use oci_spec::runtime::LinuxSeccompOperator as Operator;
use std::collections::HashMap;
use sys::seccomp::{Instruction, MAX_INSTRUCTIONS};

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// Classic BPF opcodes, linux/bpf_common.h.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

/// What a conditional jump can skip.
const REACH: usize = u8::MAX as usize;

#[derive(Clone, Copy)]
enum Target {
    Return(u32),
    At(usize),
}

#[derive(Default)]
struct Assembler {
    reversed: Vec<Instruction>,
    /// The nearest return of each action.
    returns: HashMap<u32, usize>,
    /// Where the checks of each kind are: many calls, on several architectures, often share one.
    checks: Vec<(Verdict, usize)>,
}

pub(super) fn program(tables: &[Table]) -> Result<Vec<Instruction>, CompileError> {
    let mut assembler = Assembler::default();
    let x32 = tables.iter().find(|table| table.architecture == Architecture::X32);
    let x32 = x32.map(|table| assembler.search(&table.ranges));
    // Reversed: the last table asked is emitted first, so the native one ends up nearest to the start.
    let mut otherwise = Target::Return(FOREIGN);
    let mut entries = Vec::new();
    for table in tables.iter().filter(|table| table.architecture != Architecture::X32).rev() {
        let mut entry = assembler.search(&table.ranges);
        if table.architecture == Architecture::X86_64 {
            entry = assembler.split_x32(entry, x32);
        }
        assembler.settle(entry);
        entries.push((table.architecture.audit(), Target::At(assembler.load(NUMBER))));
    }
    for (audit, entry) in entries {
        otherwise = Target::At(assembler.branch(JUMP_EQUAL, audit, entry, otherwise));
    }
    assembler.settle(otherwise);
    assembler.load(ARCHITECTURE);
    let length = assembler.reversed.len();
    if length > MAX_INSTRUCTIONS {
        return Err(CompileError::TooLong(length));
    }
    assembler.reversed.reverse();
    Ok(assembler.reversed)
}

impl Assembler {
    /// Binary search for the number in the accumulator.
    fn search(&mut self, ranges: &[(u32, Verdict)]) -> Target {
        match ranges {
            [] => Target::Return(FOREIGN),
            [(_, verdict)] => self.verdict(verdict),
            _ => {
                let (left, right) = ranges.split_at(ranges.len() / 2);
                let start = right[0].0;
                let right = self.search(right);
                let left = self.search(left);
                Target::At(self.branch(JUMP_GREATER_EQUAL, start, right, left))
            }
        }
    }

    /// An x32 number goes to its own table or is foreign. -1 is no x32 call but one that a tracer cancelled.
    fn split_x32(&mut self, native: Target, x32: Option<Target>) -> Target {
        let with_bit = match x32 {
            Some(x32) => x32,
            None => Target::At(self.branch(JUMP_EQUAL, u32::MAX, native, Target::Return(FOREIGN))),
        };
        Target::At(self.branch(JUMP_GREATER_EQUAL, X32_BIT, with_bit, native))
    }

    fn verdict(&mut self, verdict: &Verdict) -> Target {
        match verdict {
            Verdict::Return(action) => Target::Return(*action),
            Verdict::Check { rules, otherwise } => {
                if let Some((_, place)) = self.checks.iter().find(|(known, _)| known == verdict) {
                    return Target::At(*place);
                }
                let mut next = Target::Return(*otherwise);
                for rule in rules.iter().rev() {
                    let mut holds = Target::Return(rule.action);
                    for condition in rule.conditions.iter().rev() {
                        holds = self.condition(condition, holds, next);
                    }
                    next = holds;
                }
                if let Target::At(place) = next {
                    self.checks.push((verdict.clone(), place));
                }
                next
            }
        }
    }

    /// Compares an argument, a 64-bit one in two halves with the high one first.
    fn condition(&mut self, condition: &Condition, yes: Target, no: Target) -> Target {
        let low = ARGUMENTS + 8 * condition.index;
        let (high_value, low_value) = ((condition.value >> 32) as u32, condition.value as u32);
        // a < v is !(a >= v), a <= v is !(a > v), a != v is !(a == v).
        let (code, yes, no) = match condition.operator {
            Operator::ScmpCmpEq | Operator::ScmpCmpMaskedEq => (JUMP_EQUAL, yes, no),
            Operator::ScmpCmpNe => (JUMP_EQUAL, no, yes),
            Operator::ScmpCmpGt => (JUMP_GREATER, yes, no),
            Operator::ScmpCmpLe => (JUMP_GREATER, no, yes),
            Operator::ScmpCmpGe => (JUMP_GREATER_EQUAL, yes, no),
            Operator::ScmpCmpLt => (JUMP_GREATER_EQUAL, no, yes),
        };
        let masked = condition.operator == Operator::ScmpCmpMaskedEq;
        self.branch(code, low_value, yes, no);
        if masked {
            self.push(AND, condition.mask as u32);
        }
        let low_half = Target::At(self.load(low));
        if !condition.wide {
            return low_half;
        }
        self.branch(JUMP_EQUAL, high_value, low_half, no);
        if code != JUMP_EQUAL {
            // Unequal high halves decide alone.
            let equal = Target::At(self.reversed.len() - 1);
            self.branch(JUMP_GREATER, high_value, yes, equal);
        }
        if masked {
            self.push(AND, (condition.mask >> 32) as u32);
        }
        Target::At(self.load(low + 4))
    }

    /// A conditional jump; returns where it is.
    fn branch(&mut self, code: u16, value: u32, yes: Target, no: Target) -> usize {
        // Settling `yes` may add one instruction, which moves `no` one further away.
        let no = self.near(no, 1);
        let yes = self.near(yes, 0);
        let here = self.reversed.len();
        let skip = |target: usize| (here - target - 1) as u8;
        self.reversed.push(Instruction { code, jump_true: skip(yes), jump_false: skip(no), value });
        here
    }

    /// A place with the target's effect that the next instruction (`slack` instructions later) can reach.
    fn near(&mut self, target: Target, slack: usize) -> usize {
        let reachable = |place: usize, length: usize| length - place - 1 + slack <= REACH;
        let length = self.reversed.len();
        match target {
            Target::At(place) if reachable(place, length) => place,
            Target::At(place) => self.push(JUMP, (length - place - 1) as u32),
            Target::Return(action) => match self.returns.get(&action) {
                Some(place) if reachable(*place, length) => *place,
                _ => {
                    let place = self.push(RETURN, action);
                    self.returns.insert(action, place);
                    place
                }
            },
        }
    }

    /// Makes the target the very next instruction to run after one without a jump.
    fn settle(&mut self, target: Target) {
        let length = self.reversed.len();
        match target {
            Target::At(place) if place + 1 == length => {}
            Target::At(place) => {
                self.push(JUMP, (length - place - 1) as u32);
            }
            Target::Return(action) => {
                self.push(RETURN, action);
            }
        }
    }

    fn load(&mut self, offset: u32) -> usize {
        self.push(LOAD, offset)
    }

    fn push(&mut self, code: u16, value: u32) -> usize {
        self.reversed.push(Instruction { code, jump_true: 0, jump_false: 0, value });
        self.reversed.len() - 1
    }
}

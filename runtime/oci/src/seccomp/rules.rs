//! A profile resolved: for each architecture, which action each range of numbers gets.

use super::CompileError;
use super::architecture::Architecture;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompOperator};
use std::collections::BTreeMap;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// Low half of a filter's return value.
const DATA: u32 = 0xffff;

const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;

/// What a foreign architecture gets. A thread that dies alone leaves a process nobody can reason about.
pub(super) const FOREIGN: u32 = KILL_PROCESS;

/// One comparison of an argument with a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub index: u32,
    pub operator: LinuxSeccompOperator,
    pub value: u64,
    /// For MASKED_EQ.
    pub mask: u64,
    /// Whether the high half takes part.
    pub wide: bool,
}

/// Applies when every condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub conditions: Vec<Condition>,
    pub action: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Return(u32),
    /// The first rule that applies, or else `otherwise`.
    Check {
        rules: Vec<Rule>,
        otherwise: u32,
    },
}

/// Every number from the architecture's first on has a verdict: that of the last range starting at or below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub architecture: Architecture,
    pub ranges: Vec<(u32, Verdict)>,
}

/// The profile's tables, the native architecture's first.
pub(super) fn tables(profile: &LinuxSeccomp) -> Result<Vec<Table>, CompileError> {
    refuse_deadlocks(profile)?;
    let native = Architecture::native().ok_or(CompileError::Architecture)?;
    let mut wanted = vec![native];
    for arch in profile.architectures().iter().flatten() {
        match Architecture::from_profile(*arch) {
            Some(known) if !wanted.contains(&known) => wanted.push(known),
            _ => {}
        }
    }
    wanted.into_iter().map(|architecture| table(profile, architecture)).collect()
}

/// Whether some rule hands the call to a listener.
pub(super) fn notifies(profile: &LinuxSeccomp) -> bool {
    profile.syscalls().iter().flatten().any(|rule| rule.action() == Action::ScmpActNotify)
}

/// The listener's descriptor is sent with sendmsg by the very process that is filtered; like runc we refuse
/// the profiles that make that wait for ever.
fn refuse_deadlocks(profile: &LinuxSeccomp) -> Result<(), CompileError> {
    if profile.default_action() == Action::ScmpActNotify {
        return Err(CompileError::Notify { what: "the default action".to_owned() });
    }
    let notifying = profile.syscalls().iter().flatten().filter(|rule| rule.action() == Action::ScmpActNotify);
    match notifying.flat_map(|rule| rule.names()).find(|name| matches!(name.as_str(), "write" | "sendmsg")) {
        Some(name) => Err(CompileError::Notify { what: name.clone() }),
        None => Ok(()),
    }
}

/// What a profile says about one number, before it becomes a verdict.
#[derive(Default)]
struct Entry {
    always: Option<u32>,
    rules: Vec<Rule>,
}

fn table(profile: &LinuxSeccomp, architecture: Architecture) -> Result<Table, CompileError> {
    let default = action(profile.default_action(), profile.default_errno_ret());
    let mut entries: BTreeMap<u32, Entry> = BTreeMap::new();
    let mut newest = None;
    for call in profile.syscalls().iter().flatten() {
        let chosen = action(call.action(), call.errno_ret());
        for name in call.names() {
            let alternatives = alternatives(name, call.args().as_deref().unwrap_or_default(), architecture)?;
            let Some(number) = architecture.number(name) else { continue };
            if !architecture.is_private(number) {
                newest = newest.max(Some(number));
            }
            if chosen == default {
                continue;
            }
            let entry = entries.entry(number).or_default();
            if alternatives.is_empty() {
                entry.always.get_or_insert(chosen);
            }
            entry
                .rules
                .extend(alternatives.into_iter().map(|conditions| Rule { conditions, action: chosen }));
        }
    }
    Ok(Table { architecture, ranges: ranges(entries, architecture, default, newest) })
}

fn ranges(
    entries: BTreeMap<u32, Entry>,
    architecture: Architecture,
    default: u32,
    newest: Option<u32>,
) -> Vec<(u32, Verdict)> {
    let filler = |number: u32| match newest {
        Some(newest) if number > newest && refuses(default) => Verdict::Return(ERRNO | ENOSYS),
        _ => Verdict::Return(default),
    };
    let mut starts: BTreeMap<u32, Verdict> = BTreeMap::new();
    let after = entries.keys().copied().chain(newest).map(|number| number + 1);
    for number in after.chain([architecture.first()]) {
        starts.insert(number, filler(number));
    }
    for (number, entry) in entries {
        let verdict = match entry.always {
            Some(action) => Verdict::Return(action),
            None => Verdict::Check { rules: entry.rules, otherwise: default },
        };
        starts.insert(number, verdict);
    }
    let mut ranges: Vec<(u32, Verdict)> = starts.into_iter().collect();
    ranges.dedup_by(|later, earlier| later.1 == earlier.1);
    ranges
}

/// The sets of conditions of which one must hold; none at all when there is nothing to check.
fn alternatives(
    name: &str,
    arguments: &[LinuxSeccompArg],
    architecture: Architecture,
) -> Result<Vec<Vec<Condition>>, CompileError> {
    let mut uses = [0; 6];
    let mut conditions = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let index = argument.index();
        let Some(count) = uses.get_mut(index) else {
            return Err(CompileError::Argument { name: name.to_owned(), index });
        };
        *count += 1;
        conditions.push(condition(argument, architecture));
    }
    Ok(match conditions.len() {
        0 => Vec::new(),
        _ if uses.iter().any(|count| *count > 1) => conditions.into_iter().map(|one| vec![one]).collect(),
        _ => vec![conditions],
    })
}

fn condition(argument: &LinuxSeccompArg, architecture: Architecture) -> Condition {
    let operator = argument.op();
    // For MASKED_EQ the specification calls the mask `value` and the wanted bits `valueTwo`.
    let (value, mask) = match operator {
        LinuxSeccompOperator::ScmpCmpMaskedEq => (argument.value_two().unwrap_or(0), argument.value()),
        _ => (argument.value(), u64::MAX),
    };
    Condition { index: argument.index() as u32, operator, value, mask, wide: architecture.is_wide() }
}

/// Whether a default action answers a new call in a way a program cannot tell from a refusal.
fn refuses(default: u32) -> bool {
    !matches!(default & !DATA, ALLOW | LOG | TRACE) && default != ERRNO | ENOSYS
}

fn action(action: Action, errno: Option<u32>) -> u32 {
    let data = errno.unwrap_or(EPERM) & DATA;
    match action {
        Action::ScmpActKill | Action::ScmpActKillThread => KILL_THREAD,
        Action::ScmpActKillProcess => KILL_PROCESS,
        Action::ScmpActTrap => TRAP,
        Action::ScmpActErrno => ERRNO | data,
        Action::ScmpActNotify => NOTIFY,
        Action::ScmpActTrace => TRACE | data,
        Action::ScmpActLog => LOG,
        Action::ScmpActAllow => ALLOW,
    }
}

//! The program's part of a plan, the same for a new container and for an exec: limits, rights, identity,
//! working directory, and the way to execve.
//!
//! The order is the point: a filter that no_new_privs does not cover needs CAP_SYS_ADMIN and so comes before the
//! capabilities go; one that it covers comes last, so that it judges as few of our own calls as possible.

use std::path::PathBuf;

use oci_spec::runtime::{Capabilities, IOPriorityClass, LinuxSeccomp, Process, Scheduler, User};

use super::{
    CapabilitySets, Console, Hook, HookStatus, Listener, PlanError, Resource, SchedulerPolicy, Step,
};
use crate::seccomp;

/// Where programs are looked for when the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The umask of a process whose specification names none.
const DEFAULT_UMASK: u32 = 0o022;

/// Besides the process itself.
pub(super) struct Around<'a> {
    pub(super) seccomp: Option<&'a LinuxSeccomp>,
    pub(super) gate: bool,
    pub(super) start_hooks: Vec<Hook>,
    pub(super) state: String,
    /// The container's, for whoever gets the seccomp listener.
    pub(super) status: HookStatus,
}

impl Around<'_> {
    /// Who gets the listener of a filter that notifies.
    pub(super) fn listener(&self) -> Result<Option<Listener>, PlanError> {
        let Some(profile) = self.seccomp.filter(|profile| seccomp::notifies(profile)) else {
            return Ok(None);
        };
        let field = "linux.seccomp.listenerPath";
        let path = profile.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty());
        let path = path.ok_or_else(|| PlanError::invalid(field, "SCMP_ACT_NOTIFY needs it"))?;
        if !path.is_absolute() {
            return Err(PlanError::invalid(field, format!("`{}` is not absolute", path.display())));
        }
        let metadata = profile.listener_metadata().clone().unwrap_or_default();
        Ok(Some(Listener { path: path.clone(), metadata, state: self.state.clone(), status: self.status }))
    }
}

/// Steps that still need the root's descriptor.
pub(super) fn before_pivot(process: &Process, new_container: bool) -> Result<Vec<Step>, PlanError> {
    let mut steps = Vec::new();
    if process.terminal() == Some(true) {
        let size = process.console_size();
        let clip = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
        steps.push(Step::Console(Console {
            columns: size.as_ref().map_or(0, |size| clip(size.width())),
            rows: size.as_ref().map_or(0, |size| clip(size.height())),
            uid: process.user().uid(),
            mount: new_container,
        }));
    }
    if process.selinux_label().as_ref().is_some_and(|label| !label.is_empty()) {
        return Err(PlanError::Unsupported("process.selinuxLabel".into()));
    }
    Ok(steps)
}

/// Written through procfs, so only while `/proc` is the host's: a container could have its own file lie in the way.
pub(super) fn app_armor(process: &Process) -> Option<Step> {
    let profile = process.apparmor_profile().as_ref().filter(|profile| !profile.is_empty())?;
    Some(Step::AppArmor { profile: profile.clone() })
}

/// From inside the container to the program.
pub(super) fn into_program(process: &Process, around: Around<'_>) -> Result<Vec<Step>, PlanError> {
    let arguments = process.args().clone().unwrap_or_default();
    let name = arguments.first().cloned().ok_or(PlanError::Missing("process.args"))?;
    let environment = process.env().clone().unwrap_or_default();
    if !process.cwd().is_absolute() {
        return Err(PlanError::invalid("process.cwd", "not an absolute path"));
    }
    let filter = around.seccomp.map(seccomp::compile).transpose()?;
    real_ids(process.user())?;
    let no_new_privileges = process.no_new_privileges() == Some(true);
    let sets = capability_sets(process)?;

    let mut steps = limits(process)?;
    if !environment.iter().any(|entry| entry.starts_with("HOME=")) {
        steps.push(Step::Home { uid: process.user().uid() });
    }
    if no_new_privileges {
        steps.push(Step::NoNewPrivileges);
    } else if let Some(filter) = &filter {
        steps.push(Step::Seccomp { filter: filter.clone() });
    }
    steps.push(Step::BoundingSet(sets));
    steps.push(Step::WorkingDirectory { path: process.cwd().clone(), last: false });
    steps.extend(identity(process, sets));
    steps.push(Step::WorkingDirectory { path: process.cwd().clone(), last: true });
    steps.push(Step::FindProgram { name, directories: search_path(&environment) });
    // Its listener goes to a parent that may have left once the gate is open.
    let (early, late) = match filter.filter(|_| no_new_privileges) {
        Some(filter) if filter.notifies() => (Some(filter), None),
        filter => (None, filter),
    };
    steps.extend(early.map(|filter| Step::Seccomp { filter }));
    if around.gate {
        steps.push(Step::Gate);
    }
    if !around.start_hooks.is_empty() {
        let (hooks, state) = (around.start_hooks, around.state);
        steps.push(Step::Hooks { hooks, state, status: HookStatus::Created });
    }
    steps.extend(late.map(|filter| Step::Seccomp { filter }));
    steps.push(Step::Exec { arguments, environment });
    Ok(steps)
}

/// The highest number is no id: system calls that change ids read it as "leave this one", which is root.
fn real_ids(user: &User) -> Result<(), PlanError> {
    let groups = user.additional_gids().iter().flatten();
    let mut named = [("uid", user.uid()), ("gid", user.gid())]
        .into_iter()
        .chain(groups.map(|gid| ("additionalGids", *gid)));
    match named.find(|(_, id)| *id == u32::MAX) {
        Some((field, id)) => {
            Err(PlanError::invalid(format!("process.user.{field}"), format!("{id} is not an id")))
        }
        None => Ok(()),
    }
}

fn identity(process: &Process, sets: CapabilitySets) -> Vec<Step> {
    let user = process.user();
    vec![
        Step::Identity {
            uid: user.uid(),
            gid: user.gid(),
            groups: Some(user.additional_gids().clone().unwrap_or_default()),
        },
        Step::Capabilities(sets),
        Step::Umask { mask: user.umask().unwrap_or(DEFAULT_UMASK) },
    ]
}

fn limits(process: &Process) -> Result<Vec<Step>, PlanError> {
    let mut steps = Vec::new();
    for limit in process.rlimits().iter().flatten() {
        let name = serde_json::to_value(limit.typ()).ok().and_then(|v| v.as_str().map(str::to_owned));
        let number = name.as_deref().and_then(sys::rlimit::number);
        let Some(number) = number else {
            return Err(PlanError::invalid(
                "process.rlimits",
                format!("{:?} is not a limit of Linux", limit.typ()),
            ));
        };
        if limit.soft() > limit.hard() {
            return Err(PlanError::invalid(
                "process.rlimits",
                format!("{:?}: soft is above hard", limit.typ()),
            ));
        }
        steps.push(Step::Rlimit { resource: Resource(number), soft: limit.soft(), hard: limit.hard() });
    }
    if let Some(scheduler) = process.scheduler() {
        steps.push(Step::Scheduler(policy(scheduler)));
    }
    if let Some(io) = process.io_priority() {
        /// ioprio_set(2) keeps the class above the level.
        const CLASS_SHIFT: u32 = 13;
        let class = match io.class() {
            IOPriorityClass::IoprioClassRt => 1,
            IOPriorityClass::IoprioClassBe => 2,
            IOPriorityClass::IoprioClassIdle => 3,
        };
        let level = u32::try_from(io.priority())
            .ok()
            .filter(|level| *level < 8)
            .ok_or_else(|| PlanError::invalid("process.ioPriority", "level is not 0 to 7"))?;
        steps.push(Step::IoPriority { value: class << CLASS_SHIFT | level });
    }
    Ok(steps)
}

fn policy(scheduler: &Scheduler) -> SchedulerPolicy {
    use oci_spec::runtime::{LinuxSchedulerFlag as Flag, LinuxSchedulerPolicy as Policy};
    let flag = |flag: &Flag| match flag {
        Flag::SchedResetOnFork => 0x01,
        Flag::SchedFlagReclaim => 0x02,
        Flag::SchedFlagDLOverrun => 0x04,
        Flag::SchedFlagKeepPolicy => 0x08,
        Flag::SchedFlagKeepParams => 0x10,
        Flag::SchedFlagUtilClampMin => 0x20,
        Flag::SchedFlagUtilClampMax => 0x40,
    };
    SchedulerPolicy {
        policy: match scheduler.policy() {
            Policy::SchedOther => 0,
            Policy::SchedFifo => 1,
            Policy::SchedRr => 2,
            Policy::SchedBatch => 3,
            Policy::SchedIso => 4,
            Policy::SchedIdle => 5,
            Policy::SchedDeadline => 6,
        },
        flags: scheduler.flags().iter().flatten().map(flag).sum(),
        nice: scheduler.nice().unwrap_or(0),
        priority: scheduler.priority().unwrap_or(0).max(0) as u32,
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
    }
}

fn capability_sets(process: &Process) -> Result<CapabilitySets, PlanError> {
    let Some(listed) = process.capabilities() else { return Ok(CapabilitySets::default()) };
    let mask = |set: &Option<Capabilities>| {
        let names: Vec<String> = set.iter().flatten().map(ToString::to_string).collect();
        sys::capability::parse(names.iter().map(String::as_str))
            .map_err(|error| PlanError::invalid("process.capabilities", error.to_string()))
    };
    Ok(CapabilitySets {
        bounding: mask(listed.bounding())?,
        effective: mask(listed.effective())?,
        permitted: mask(listed.permitted())?,
        inheritable: mask(listed.inheritable())?,
        ambient: mask(listed.ambient())?,
    })
}

fn search_path(environment: &[String]) -> Vec<PathBuf> {
    let path = environment.iter().rev().find_map(|entry| entry.strip_prefix("PATH="));
    path.unwrap_or(DEFAULT_PATH)
        .split(':')
        .map(|directory| PathBuf::from(if directory.is_empty() { "." } else { directory }))
        .collect()
}

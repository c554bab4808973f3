//! The plan of one more process in a running container.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxSeccomp, Process};

use super::process::{self, Around};
use super::{HookStatus, Namespaces, Plan, PlanError, Step, Target, affinity};

/// The container that an exec enters.
#[derive(Clone, Debug, Default)]
pub struct ExecTarget {
    /// Its init process, as the launching process sees it.
    pub pid: i32,
    /// Field 22 of /proc/pid/stat at its start: a recycled PID is refused. Not needed with a pidfd in `LaunchFds`.
    pub start_ticks: Option<u64>,
    /// Those the container does not share with the host.
    pub namespaces: Namespaces,
    /// `cgroup.procs` files of version 1 hierarchies, which the child writes itself into.
    pub cgroup_procs: Vec<PathBuf>,
    pub seccomp: Option<LinuxSeccomp>,
    /// A name for the session keyring; none keeps the caller's.
    pub keyring: Option<String>,
    /// The container's state as JSON without `pid` and `status`, for a seccomp listener.
    pub state: Option<String>,
}

pub(super) fn plan(process: &Process, target: &ExecTarget) -> Result<Plan, PlanError> {
    let mut steps = vec![Step::NewSession];
    let affinity = process.exec_cpu_affinity().as_ref();
    if let Some(cpus) = affinity.and_then(|affinity| affinity.initial().as_deref()) {
        steps.push(Step::CpuAffinity { cpus: affinity::parse("process.execCPUAffinity.initial", cpus)? });
    }
    steps.extend(target.cgroup_procs.iter().map(|procs| Step::JoinCgroup { procs: procs.clone() }));
    if let Some(cpus) = affinity.and_then(|affinity| affinity.cpu_affinity_final().as_deref()) {
        steps.push(Step::CpuAffinity { cpus: affinity::parse("process.execCPUAffinity.final", cpus)? });
    }
    if let Some(adjust) = process.oom_score_adj() {
        steps.push(Step::OomScore { adjust });
    }
    steps.extend(process::app_armor(process));
    // The PID namespace is joined around the clone; a process cannot change its own.
    let kinds = target.namespaces.without(Namespaces::PID);
    if !kinds.is_empty() {
        steps.push(Step::EnterTarget { kinds });
    }
    if kinds.has(Namespaces::USER) {
        steps.push(Step::BecomeRoot);
    }
    if let Some(name) = &target.keyring {
        steps.push(Step::Keyring { name: name.clone() });
    }
    steps.extend(process::before_pivot(process, false)?);
    let around = Around {
        seccomp: target.seccomp.as_ref(),
        gate: false,
        start_hooks: Vec::new(),
        state: target.state.clone().unwrap_or_else(|| "{".into()),
        status: HookStatus::Created,
    };
    let listener = around.listener()?;
    steps.extend(process::into_program(process, around)?);
    Ok(Plan {
        clone_flags: Namespaces::default(),
        join_pid: None,
        join_first: Vec::new(),
        target: Some(Target {
            pid: target.pid,
            start_ticks: target.start_ticks,
            pid_namespace: target.namespaces.has(Namespaces::PID),
        }),
        id_maps: None,
        listener,
        steps,
    })
}

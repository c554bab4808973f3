//! Resource limits of a container: from the OCI specification to control files, and back to figures.
//!
//! ```text
//! LinuxResources ─┐
//!                 ├─ plan() ─> Vec<Write> ─> execute       limits, on v1 and v2 alike
//! Observed ───────┘
//! devices ─> devices.allow and devices.deny on v1, a BPF program on v2
//! Cgroup ─> stats() ─> Stats                               one meaning on v1 and v2
//! ```
//!
//! As with runc, a limit of 0 means "not given", and a limit that this host cannot keep is an error that names
//! the controller. cgroups-rs reads what is in force (`observe`); the writes are ours, because it gives up
//! the order of related limits and drops the errors of optional ones, and it has no device control, OOM group,
//! burst or pass-through for v2.
//!
//! **Invariants**: `plan` is pure. `update` never touches what its input does not name.
//!
//! Reference: OCI runtime-spec config-linux.md "Control groups"; the kernel's cgroup-v1 and cgroup-v2 documents.

mod cpu;
mod cpuset;
mod devices;
mod hugetlb;
mod io;
mod memory;
mod network;
mod observe;
mod pids;
mod plan;
mod rdma;
mod stats;
mod unified;

pub use observe::Observed;
pub use plan::{Missing, Write, plan};
pub use stats::{Cpu, Disk, Io, Memory, Pids, Pressure, Stall, Stats, StatsReader, stats};

use oci_spec::runtime::LinuxResources;
use sys::cgroup::{Cgroup, CgroupError};

#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("{field} = {value} is not possible: {why}")]
    Value { field: String, value: String, why: String },
    #[error("cannot read what is in force for controller {controller}: {why}")]
    Observe { controller: &'static str, why: String },
    #[error(transparent)]
    Device(#[from] sys::bpf::BpfError),
}

/// Applies every limit of a new container, before its first process enters. A device that no rule and no
/// default of the specification allows is denied, also when `resources` has no rules at all.
pub fn apply(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), ResourceError> {
    devices(cgroup, resources)?;
    limits(cgroup, resources)
}

/// The devices part of [`apply`], for whoever does it apart from the limits.
pub fn devices(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), ResourceError> {
    devices::apply(cgroup, resources.devices().as_deref().unwrap_or_default())
}

/// Changes what `resources` names and leaves the rest as it is: for UpdateContainerResources and `update`.
pub fn update(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), ResourceError> {
    if let Some(rules) = resources.devices() {
        devices::apply(cgroup, rules)?;
    }
    limits(cgroup, resources)
}

/// The writes of [`apply`] and [`update`], devices left out: for whoever has to be told of limits.
pub fn planned(cgroup: &Cgroup, resources: &LinuxResources) -> Result<Vec<Write>, ResourceError> {
    plan(resources, &Observed::read(cgroup)?)
}

/// The other part of [`apply`].
pub fn limits(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), ResourceError> {
    if asks_for_nothing(resources) {
        return Ok(());
    }
    for write in planned(cgroup, resources)? {
        execute(cgroup, &write)?;
    }
    Ok(())
}

/// Then there is nothing to observe either: a dozen reads in each hierarchy.
fn asks_for_nothing(resources: &LinuxResources) -> bool {
    let mut devices_alone = LinuxResources::default();
    devices_alone.set_devices(resources.devices().clone());
    *resources == devices_alone
}

fn execute(cgroup: &Cgroup, write: &Write) -> Result<(), ResourceError> {
    match cgroup.write(write.controller, &write.file, &write.value) {
        Err(CgroupError::Write { source, .. })
            if write.missing == Missing::Ignore && source.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        other => Ok(other?),
    }
}

#[cfg(test)]
mod host_tests;
#[cfg(test)]
mod tests;

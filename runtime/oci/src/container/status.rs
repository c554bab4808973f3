//! What a container is doing, read from the kernel.

use std::fmt;
use std::path::Path;

use sys::cgroup::{Cgroup, Layout};
use sys::process;

use super::{ContainerError, Record, Store};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The child waits at the gate.
    Created,
    Running,
    Paused,
    /// The process is gone, or a zombie that its parent has not reaped yet.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

pub fn status(store: &Store, record: &Record) -> Result<Status, ContainerError> {
    if !alive(record) {
        return Ok(Status::Stopped);
    }
    if gate_exists(&store.directory_of(&record.id)?) {
        return Ok(Status::Created);
    }
    if frozen(record) { Ok(Status::Paused) } else { Ok(Status::Running) }
}

/// True while the recorded process, not another one with its PID, is more than a zombie.
pub(crate) fn alive(record: &Record) -> bool {
    process::stat(record.pid)
        .is_some_and(|(state, start)| start == record.start_ticks && !matches!(state, 'Z' | 'X'))
}

pub(crate) fn gate_exists(directory: &Path) -> bool {
    directory.join("gate").exists()
}

fn frozen(record: &Record) -> bool {
    let cgroup = Layout::detect().and_then(|layout| Cgroup::open(&layout, &record.cgroup));
    cgroup
        .and_then(|cgroup| cgroup.populated_events()?.map(|events| events.read()).transpose())
        .is_ok_and(|population| population.is_some_and(|population| population.frozen))
}

//! `kill`: a signal to the container's init, or to everything in its cgroup.

use std::os::fd::AsFd;

use clap::Args;
use sys::cgroup::{Cgroup, CgroupError, Layout};
use sys::{Errno, process};

use super::signal;
use crate::container::{ContainerError, Record, Status, Store, status};
use crate::plan::Namespaces;

pub(super) const DEFAULT_SIGNAL: &str = "SIGTERM";

#[derive(Debug, Args)]
pub(super) struct Kill {
    /// Send the signal to all processes of the container
    #[arg(long, short)]
    pub(super) all: bool,
    pub(super) id: String,
    #[arg(default_value = DEFAULT_SIGNAL)]
    pub(super) signal: String,
}

impl Kill {
    pub(super) fn run(self, store: &Store) -> Result<u8, ContainerError> {
        let number = signal::parse(&self.signal)
            .ok_or_else(|| ContainerError::Usage(format!("unknown signal `{}`", self.signal)))?;
        let record = store.load(&self.id)?;
        let stopped = status(store, &record)? == Status::Stopped;
        // Without a PID namespace of its own the container does not end with its init.
        let shared = !record.namespaces.has(Namespaces::PID);
        if self.all || (shared && number == rustix::process::Signal::KILL.as_raw()) {
            return kill_all(&record, number);
        }
        if stopped {
            return Err(ContainerError::NotRunning);
        }
        kill_init(&record, number)
    }
}

fn kill_init(record: &Record, number: i32) -> Result<u8, ContainerError> {
    let failed = |errno| match errno {
        Errno::SRCH => ContainerError::NotRunning,
        errno => ContainerError::System { action: "send the signal", errno },
    };
    let pidfd = process::open(record.pid).map_err(failed)?;
    if process::stat(record.pid).is_none_or(|(_, start)| start != record.start_ticks) {
        return Err(ContainerError::NotRunning);
    }
    process::signal(pidfd.as_fd(), number).map_err(failed)?;
    Ok(0)
}

fn kill_all(record: &Record, number: i32) -> Result<u8, ContainerError> {
    let cgroup = match Cgroup::open(&Layout::detect()?, &record.cgroup) {
        Err(CgroupError::Missing(_)) => return Ok(0),
        result => result?,
    };
    if number == rustix::process::Signal::KILL.as_raw() {
        cgroup.kill()?;
        return Ok(0);
    }
    for pid in cgroup.pids()? {
        // One that has ended meanwhile needs no signal.
        let Ok(pidfd) = process::open(pid) else { continue };
        match process::signal(pidfd.as_fd(), number) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => return Err(ContainerError::System { action: "send the signal", errno }),
        }
    }
    Ok(0)
}

//! Removing a container: steps that can be repeated, the record last, so that what failed half-way can be
//! finished by another delete.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use sys::cgroup::{Cgroup, CgroupError, Layout};
use sys::{Errno, process};

use super::{ContainerError, Record, Status, Store, status};
use crate::{hooks, plan, systemd};

/// SIGKILL is not late; a process that takes longer hangs in the kernel.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The init process, when it still runs.
    Kill,
    /// Whatever else is in the cgroup, then the cgroup, then its unit.
    Cgroup,
    PoststopHooks,
    Record,
}

const STEPS: [Step; 4] = [Step::Kill, Step::Cgroup, Step::PoststopHooks, Step::Record];

/// In debug builds, the number of the step that fails instead of running.
const FAIL_AT: &str = "KEELSON_OCI_DELETE_FAIL_AT";

/// Removes a container. One that runs needs `force`; one that was never started does not.
pub fn delete(store: &Store, id: &str, force: bool) -> Result<(), ContainerError> {
    let record = match store.load(id) {
        Err(ContainerError::NotFound) => return delete_unrecorded(store, id, force),
        result => result?,
    };
    let now = status(store, &record)?;
    if matches!(now, Status::Running | Status::Paused) && !force {
        return Err(ContainerError::NotStopped { id: id.to_owned(), status: now });
    }
    for (number, step) in STEPS.into_iter().enumerate() {
        if cfg!(debug_assertions) && std::env::var(FAIL_AT).is_ok_and(|value| value.parse() == Ok(number)) {
            return Err(ContainerError::Injected);
        }
        execute(step, store, &record)?;
    }
    Ok(())
}

/// A directory without a record is what a killed create left.
fn delete_unrecorded(store: &Store, id: &str, force: bool) -> Result<(), ContainerError> {
    let directory = store.directory_of(id)?;
    match std::fs::remove_dir_all(&directory) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && force => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(ContainerError::NotFound),
        Err(source) => Err(ContainerError::File { action: "remove", path: directory, source }),
    }
}

fn execute(step: Step, store: &Store, record: &Record) -> Result<(), ContainerError> {
    match step {
        Step::Kill => kill(record),
        Step::Cgroup => {
            let layout = Layout::detect()?;
            match Cgroup::open(&layout, &record.cgroup) {
                Ok(cgroup) => {
                    cgroup.kill()?;
                    cgroup.delete()?;
                }
                Err(CgroupError::Missing(_)) => {}
                Err(error) => return Err(error.into()),
            }
            match &record.unit {
                // Slices are systemd's.
                Some(unit) => Ok(systemd::stop(unit)?),
                None => Ok(layout.prune_parents(&record.cgroup)?),
            }
        }
        Step::PoststopHooks => {
            poststop(store, record);
            Ok(())
        }
        Step::Record => {
            let directory = store.directory_of(&record.id)?;
            std::fs::remove_dir_all(&directory).map_err(ContainerError::file("remove", directory))
        }
    }
}

fn kill(record: &Record) -> Result<(), ContainerError> {
    let pidfd = match process::open(record.pid) {
        Err(Errno::SRCH) => return Ok(()),
        result => result.map_err(ContainerError::system("open the container's process"))?,
    };
    // After the descriptor is open: now the answer is about the process it is of.
    if !super::status::alive(record) {
        return Ok(());
    }
    process::signal(pidfd.as_fd(), rustix::process::Signal::KILL.as_raw())
        .or_else(|errno| if errno == Errno::SRCH { Ok(()) } else { Err(errno) })
        .map_err(ContainerError::system("kill the container's process"))?;
    let timeout = Timespec { tv_sec: KILL_TIMEOUT.as_secs() as i64, tv_nsec: 0 };
    let mut poll = [PollFd::new(&pidfd, PollFlags::IN)];
    loop {
        match rustix::event::poll(&mut poll, Some(&timeout)) {
            Err(Errno::INTR) => {}
            Ok(0) => {
                return Err(ContainerError::WillNotDie {
                    id: record.id.clone(),
                    seconds: KILL_TIMEOUT.as_secs(),
                });
            }
            result => {
                return result.map(drop).map_err(ContainerError::system("wait for the container's process"));
            }
        }
    }
}

/// A failing poststop hook is logged; it stops neither the others nor the removal.
fn poststop(store: &Store, record: &Record) {
    let Some(spec) = store.load_spec_with_hooks(&record.id, "poststop") else { return };
    let Some(listed) = spec.hooks() else { return };
    let state = hooks::complete_state(&record.open_state(), 0, "stopped");
    // Checked when the container was made.
    for hook in plan::hooks(listed.poststop().as_ref()).unwrap_or_default() {
        if let Err(error) = hooks::run(&hook, &state) {
            tracing::warn!(%error, "poststop hook");
        }
    }
}

//! Containers of `keelson oci`: their record on disk, their state, and the sequences that make and remove them.
//!
//! ```text
//! <root>/v1/<id>/state.json    the record, written when the child waits at the gate
//!               /config.json   the specification, as it was at create
//!               /gate          a FIFO; gone once `start` has opened it
//!
//! (nothing) ──create──> created ──start──> running <──pause/resume──> paused
//!                          └────────────────┴──────> stopped ──delete──> (nothing)
//! ```
//!
//! Only the record is kept: the state is read from the kernel each time. A process is the recorded one when its
//! PID and its start time are.
//!
//! **Invariants.** The record is removed last, so a delete that failed half-way can be repeated. Reserving an
//! id is making its directory, which the filesystem allows once.

mod create;
mod delete;
mod notify;
mod record;
mod status;

use sys::Errno;
use sys::cgroup::CgroupError;

use crate::cgroup::ResourceError;
use crate::hooks::HookError;
use crate::launch::LaunchError;
use crate::plan::PlanError;
use crate::systemd::SystemdError;

pub use create::{CreateRequest, Created, create};
pub(crate) use create::{open_gate, state_without_process, write_pid_file};
pub use delete::delete;
pub(crate) use notify::NotifySocket;
pub(crate) use record::read_spec;
pub use record::{Record, Store};
pub use status::{Status, status};

/// Why an operation on a container failed. The texts of the first few are runc's: programs look for them.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    #[error("container does not exist")]
    NotFound,
    #[error("container with given ID already exists")]
    Exists,
    #[error("container id cannot be empty")]
    EmptyId,
    #[error("invalid container ID format `{0}`: use letters, digits, `_`, `+`, `-` and `.`")]
    InvalidId(String),
    #[error("container not running")]
    NotRunning,
    #[error("cannot start an already running container")]
    AlreadyRunning,
    #[error("cannot start a container that has stopped")]
    Stopped,
    #[error("cannot exec in a stopped container")]
    ExecStopped,
    #[error("cannot exec in a paused container (use --ignore-paused to override)")]
    ExecPaused,
    #[error("cannot allocate tty if runc will detach without setting console socket")]
    NoConsole,
    #[error("cannot use console socket if runc will not detach or allocate tty")]
    NoTerminal,
    #[error("cannot delete container {id} that is not stopped: {status}")]
    NotStopped { id: String, status: Status },
    #[error("container {id} did not end within {seconds} s of SIGKILL")]
    WillNotDie { id: String, seconds: u64 },
    #[error("{action} `{path}`")]
    File {
        action: &'static str,
        path: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{file}: {source}")]
    Json { file: std::path::PathBuf, source: serde_json::Error },
    #[error("state of version {0} in `{1}`: made by a newer keelson; use that to delete the container")]
    Version(u32, std::path::PathBuf),
    #[error("{0}")]
    Usage(String),
    #[error("{action}")]
    System {
        action: &'static str,
        #[source]
        errno: Errno,
    },
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Resource(#[from] ResourceError),
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// A test asked for it.
    #[error("injected fault")]
    Injected,
}

impl ContainerError {
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<std::path::PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> ContainerError {
        let path = path.into();
        move |source| ContainerError::File { action, path, source }
    }

    pub(crate) fn system(action: &'static str) -> impl FnOnce(Errno) -> ContainerError {
        move |errno| ContainerError::System { action, errno }
    }
}

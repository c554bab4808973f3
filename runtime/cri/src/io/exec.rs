//! Exec: one more process in a container, for as long as somebody wants its result.
//!
//! It is launched through the keeper like the container itself, but tied: it dies with this daemon,
//! and is killed when whoever asked for it goes away. Its streams are plain pipes, or a terminal.

mod session;
mod sync;

use std::time::Duration;

use keeper_api::ProcessId;

use crate::process::{LaunchError, Processes, SignalError};

pub use session::{exec_stream, exec_stream_encoded};
pub use sync::{ExecOutput, exec_sync, exec_sync_encoded};

/// How long after the end of an exec its output may take: a process that it left behind may hold the
/// other end for ever.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(10);
/// `SIGKILL`
const KILL: i32 = 9;

/// Why an exec has no result.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error("the command took longer than {} s and was killed", timeout.as_secs_f64())]
    TimedOut { timeout: Duration },
    #[error("a pipe for the command cannot be made")]
    Pipe(#[source] std::io::Error),
    #[error("the client went away; the command was killed")]
    ClientGone,
    #[error(transparent)]
    Signal(#[from] SignalError),
}

/// Kills and forgets the process however its asker ends.
struct Abandon {
    processes: Processes,
    id: ProcessId,
}

impl Drop for Abandon {
    fn drop(&mut self) {
        self.processes.abandon(&self.id);
    }
}

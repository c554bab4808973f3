//! Watching one process by its pidfd until it ends, whoever its parent is.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use keeper_api::{Exit, ProcessId, Status};
use sys::exit::Observed;
use tokio::io::Interest;
use tokio::sync::mpsc;

use super::owner::Command;
use super::ready;
use super::table::now_nanoseconds;

/// How long the keeper may take to tell an end that cannot be seen from here (before Linux 6.15, when
/// it was faster to reap the process than we to look).
const KEEPER_PATIENCE: Duration = Duration::from_secs(2);

struct Shared(Arc<OwnedFd>);

impl AsRawFd for Shared {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Waits for the end and tells the owner.
pub async fn until_ended(id: ProcessId, pid: i32, pidfd: Arc<OwnedFd>, owner: mpsc::WeakSender<Command>) {
    let status = match wait(pid, pidfd).await {
        Ok(status) => status,
        Err(error) => {
            tracing::warn!(%id, pid, %error, "a process cannot be watched; the keeper tells its end");
            return;
        }
    };
    if status == Status::Unknown {
        tokio::time::sleep(KEEPER_PATIENCE).await;
    }
    let exit = Exit { status, at_nanoseconds: now_nanoseconds() };
    if let Some(owner) = owner.upgrade() {
        let _stopping = owner.send(Command::Ended { id, exit }).await;
    }
}

async fn wait(pid: i32, pidfd: Arc<OwnedFd>) -> std::io::Result<Status> {
    let watched = ready::register(Shared(pidfd), Interest::READABLE)?;
    loop {
        let mut ready = watched.readable().await?;
        match sys::exit::observe(watched.get_ref().0.as_fd(), pid) {
            Observed::Ended(word) => return Ok(Status::from_wait(word)),
            Observed::Lost => return Ok(Status::Unknown),
            // The next report is the one of its being reaped.
            Observed::Alive => ready.clear_ready(),
        }
    }
}

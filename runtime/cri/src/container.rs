//! A container: a snapshot of an image, a specification, a process, its streams.
//!
//! ```text
//!   CreateContainer            StartContainer             the process ends
//!  ----------------> Created ----------------> Running -------------------> Exited
//!                      |    it cannot be started: Exited, 128, StartError      |
//!                      +------------------ RemoveContainer --------------------+--> (nothing)
//! ```
//!
//! **Invariants.** One owner task per container executes commands and sees the exit; everybody else reads
//! the record it publishes. The record is on disk before anything it describes, and gone after all of it.
//!
//! Reference: CRI `ContainerConfig`, `ContainerStatus`.

pub mod create;
pub mod exec;
pub mod filter;
pub mod image_volume;
mod owner;
pub mod plan;
pub mod rootfs;
pub mod signal;
pub mod spec;
pub mod start;
pub mod stats;
pub mod status;
pub mod user;
pub mod validate;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cri_api::v1;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::fault::{Fault, Outcome};
use crate::id::{ContainerId, SandboxId};
use crate::io::ContainerIo;
use user::ResolvedUser;

pub use owner::{Adopted, start as own};

/// Commands that wait for the owner; more callers wait for room.
pub const COMMANDS_MAX: usize = 32;

/// Where a container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Being made; found at a start, it is taken back.
    Making,
    Created,
    Running,
    Exited,
}

/// What is kept of a container over restarts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContainerRecord {
    pub id: ContainerId,
    pub sandbox: SandboxId,
    /// Reserved while the container exists.
    pub name: String,
    pub phase: Phase,
    #[serde(with = "crate::record::message")]
    pub config: v1::ContainerConfig,
    /// The configuration's digest.
    pub image_id: String,
    /// By digest if there is one: what `image_ref` of the status says.
    pub image_ref: String,
    pub user: ResolvedUser,
    pub cgroup: String,
    /// Empty: no log.
    pub log_path: String,
    pub stop_signal: i32,
    /// What is in force; changed by UpdateContainerResources.
    #[serde(with = "crate::record::message")]
    pub resources: v1::LinuxContainerResources,
    pub pid: i32,
    pub created_at: i64,
    pub started_at: i64,
    pub finished_at: i64,
    pub exit_code: i32,
    pub reason: String,
    pub message: String,
}

/// A container as everybody but its owner sees it.
pub struct Container {
    pub id: ContainerId,
    pub sandbox: SandboxId,
    record: watch::Sender<Arc<ContainerRecord>>,
    commands: mpsc::Sender<Command>,
    /// Its owner ended because it is gone, not because the daemon stops.
    removed: AtomicBool,
    io: Mutex<Option<ContainerIo>>,
    pub readings: Mutex<stats::Readings>,
}

/// What the owner is asked to do.
#[derive(Debug)]
pub enum Command {
    Start(Reply<()>),
    /// The stop signal, and SIGKILL after the grace; the answer comes when the process is gone.
    Stop {
        grace: Duration,
        reply: Reply<()>,
    },
    /// Kills it if it runs.
    Remove(Reply<()>),
    Update {
        resources: Box<v1::LinuxContainerResources>,
        reply: Reply<()>,
    },
    ReopenLog(Reply<()>),
}

pub type Reply<T> = oneshot::Sender<Outcome<T>>;

// === impl Container ===

impl Container {
    pub fn record(&self) -> Arc<ContainerRecord> {
        self.record.borrow().clone()
    }

    /// The streams of a running container.
    pub fn io(&self) -> Option<ContainerIo> {
        self.io.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_io(&self, io: Option<ContainerIo>) {
        *self.io.lock().unwrap_or_else(PoisonError::into_inner) = io;
    }

    /// Sends a command and waits for the answer. The owner finishes also if the caller goes away.
    pub async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Outcome<T> {
        let (reply, answer) = oneshot::channel();
        let gone = || {
            let removed = self.removed.load(Ordering::Acquire);
            if removed { Fault::no_container(self.id.as_str()) } else { Fault::Stopping }
        };
        self.commands.send(command(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// The record of a container that runs, or the words other runtimes have for one that does not.
    pub fn running(&self) -> Outcome<Arc<ContainerRecord>> {
        let record = self.record();
        if record.phase == Phase::Running {
            return Ok(record);
        }
        let state = status::state(&record).as_str_name();
        Err(Fault::Precondition(format!("container {} is in {state} state", self.id)))
    }
}

impl ContainerRecord {
    pub fn metadata(&self) -> v1::ContainerMetadata {
        self.config.metadata.clone().unwrap_or_default()
    }
}

//! A pod sandbox: namespaces, files, a cgroup and a network that containers join.
//!
//! ```text
//!            RunPodSandbox                StopPodSandbox              RemovePodSandbox
//!  (nothing) ------------> Making -> Ready ------------> NotReady ---------------------> (nothing)
//!                            | a step fails: undone          ^
//!                            +--------> (nothing)            +-- the pod's init died, or the host rebooted
//! ```
//!
//! No process holds a sandbox: its namespaces are pinned. Only when a container asks to share the pod's PID
//! namespace is there one process, its init, started by the first that asks.
//!
//! **Invariants.** One owner task per sandbox executes its commands one after the other. The record says
//! what may exist; undoing what does not exist is success.
//!
//! Reference: CRI `PodSandboxConfig`.

pub mod execute;
pub mod files;
pub mod filter;
pub mod init;
pub mod network;
mod owner;
pub mod plan;
pub mod run;
pub mod stats;
pub mod status;
pub mod user;
pub mod validate;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cri_api::v1;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::cni::Attached;
use crate::fault::{Fault, Outcome};
use crate::id::SandboxId;

pub use owner::start as own;
pub use user::UserNamespace;

/// Commands that wait for the owner; more callers wait for room.
pub const COMMANDS_MAX: usize = 32;

/// Where a sandbox stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Being made; found at a start, it is taken back.
    Making,
    /// Containers may be created in it.
    Ready,
    /// Stopped: containers are gone or going, what is left waits for removal.
    NotReady,
}

/// What is kept of a sandbox over restarts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SandboxRecord {
    pub id: SandboxId,
    /// Reserved while the sandbox exists.
    pub name: String,
    pub phase: Phase,
    pub created_at: i64,
    pub handler: String,
    #[serde(with = "crate::record::message")]
    pub config: v1::PodSandboxConfig,
    pub hostname: String,
    /// Namespaces of its own, by path.
    pub net: Option<PathBuf>,
    pub ipc: Option<PathBuf>,
    pub uts: Option<PathBuf>,
    /// The one that owns those above, if the pod has ids of its own.
    #[serde(default)]
    pub user: Option<PathBuf>,
    /// Containers' cgroups lie below this one, and whether it was made for this sandbox.
    pub cgroup_parent: String,
    pub made_cgroup_parent: bool,
    pub attached: Option<Attached>,
}

/// A sandbox as everybody but its owner sees it.
pub struct Sandbox {
    pub id: SandboxId,
    record: watch::Sender<Arc<SandboxRecord>>,
    commands: mpsc::Sender<Command>,
    /// Its owner ended because it is gone, not because the daemon stops.
    removed: AtomicBool,
}

/// What the owner is asked to do.
#[derive(Debug)]
pub enum Command {
    Stop(Reply<()>),
    Remove(Reply<()>),
    /// The PID of the pod's init, started if need be.
    Init(Reply<i32>),
    /// New figures of what the pod as a whole may use and what it costs; the cgroup is the kubelet's.
    Update {
        overhead: Option<Box<v1::LinuxContainerResources>>,
        resources: Option<Box<v1::LinuxContainerResources>>,
        reply: Reply<()>,
    },
}

pub type Reply<T> = oneshot::Sender<Outcome<T>>;

// === impl Sandbox ===

impl Sandbox {
    /// What is known now.
    pub fn record(&self) -> Arc<SandboxRecord> {
        self.record.borrow().clone()
    }

    /// Sends a command and waits for the answer. The owner finishes also if the caller goes away.
    pub async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Outcome<T> {
        let (reply, answer) = oneshot::channel();
        let gone = || {
            let removed = self.removed.load(Ordering::Acquire);
            if removed { Fault::no_sandbox(self.id.as_str()) } else { Fault::Stopping }
        };
        self.commands.send(command(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl SandboxRecord {
    pub fn metadata(&self) -> v1::PodSandboxMetadata {
        self.config.metadata.clone().unwrap_or_default()
    }

    /// The namespace options of the request, or their defaults.
    pub fn namespace_options(&self) -> v1::NamespaceOption {
        let linux = self.config.linux.clone().unwrap_or_default();
        linux.security_context.and_then(|context| context.namespace_options).unwrap_or_default()
    }

    /// The ids of a pod that has its own.
    pub fn user_namespace(&self) -> Option<UserNamespace> {
        let options = self.namespace_options().userns_options.unwrap_or_default();
        let path = self.user.clone()?;
        Some(UserNamespace { path, uids: user::ranges(&options.uids), gids: user::ranges(&options.gids) })
    }

    pub fn is_privileged(&self) -> bool {
        let linux = self.config.linux.as_ref();
        linux.and_then(|linux| linux.security_context.as_ref()).is_some_and(|context| context.privileged)
    }
}

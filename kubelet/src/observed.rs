//! What the runtime says of one pod: its sandboxes and the containers in them.
//!
//! Read from CRI's messages and never from what we did last. The attempt counts containers of one name, so the
//! newest container's attempt is the restart count, also after our own restart.

mod read;

use std::net::IpAddr;

use cri_api::v1;

pub use read::read;

/// One pod in the runtime.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Newest first.
    pub sandboxes: Vec<Sandbox>,
    /// Of all sandboxes, newest first.
    pub containers: Vec<ObservedContainer>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sandbox {
    pub id: String,
    pub attempt: u32,
    pub ready: bool,
    /// Nanoseconds since 1970.
    pub created_at: i64,
    pub addresses: Vec<IpAddr>,
    /// Namespace options are part of what makes a sandbox outdated.
    pub host_network: bool,
}

/// What a container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Created,
    Running,
    Exited,
    Unknown,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ObservedContainer {
    pub id: String,
    pub sandbox: String,
    pub name: String,
    pub attempt: u32,
    pub state: State,
    /// What it left at terminationMessagePath, or the end of its log; only of one that exited.
    pub last_words: String,
    /// The message as it came: times, exit code, reason, image, log path, annotations.
    pub status: v1::ContainerStatus,
}

impl Observed {
    /// The newest sandbox, if it is ready.
    pub fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|sandbox| sandbox.ready)
    }

    /// The newest container of a name.
    pub fn latest(&self, name: &str) -> Option<&ObservedContainer> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// All of a name, newest first.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a ObservedContainer> {
        self.containers.iter().filter(move |container| container.name == name)
    }

    pub fn running(&self) -> impl Iterator<Item = &ObservedContainer> {
        self.containers.iter().filter(|container| container.state == State::Running)
    }
}

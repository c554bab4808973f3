//! Which steps make a sandbox. Pure; the same steps backwards take it away.

use std::path::PathBuf;

use cri_api::v1::NamespaceMode;
use sys::netns;

use super::SandboxRecord;
use super::files::{self, SHM_BYTES};
use crate::paths::Paths;

/// One action. Doing it twice, and undoing what was never done, are both fine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The parent of the containers' cgroups, in every hierarchy.
    Cgroup {
        path: String,
    },
    /// Containers will come: the kernel gets ready meanwhile.
    Migrations,
    Folder {
        path: PathBuf,
    },
    File {
        path: PathBuf,
        content: String,
    },
    /// A tmpfs that containers get as /dev/shm.
    SharedMemory {
        path: PathBuf,
        bytes: u64,
    },
    /// New namespaces, pinned below `pins`.
    Namespaces {
        pins: PathBuf,
        desired: netns::Desired,
    },
    /// CNI ADD into the pinned network namespace.
    Network,
    /// Where the kubelet wants the logs.
    LogFolder {
        path: PathBuf,
    },
}

/// When a step is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lasts {
    /// Until the sandbox is stopped.
    WhileReady,
    /// Until it is removed.
    WhileKnown,
    /// Somebody else removes it.
    ForEver,
}

impl Step {
    pub fn lasts(&self) -> Lasts {
        match self {
            Step::Network | Step::Namespaces { .. } | Step::SharedMemory { .. } => Lasts::WhileReady,
            Step::Cgroup { .. } | Step::Folder { .. } | Step::File { .. } => Lasts::WhileKnown,
            Step::LogFolder { .. } | Step::Migrations => Lasts::ForEver,
        }
    }
}

/// In the order of making: the network last, because it is the slowest and the most likely to fail.
pub fn plan(record: &SandboxRecord, paths: &Paths, host: &files::HostFiles) -> Vec<Step> {
    let folder = paths.files(&record.id);
    let mut steps = Vec::new();
    if record.made_cgroup_parent {
        steps.push(Step::Cgroup { path: record.cgroup_parent.clone() });
    }
    steps.push(Step::Migrations);
    steps.push(Step::Folder { path: folder.clone() });
    for (name, content) in files::contents(record, host) {
        steps.push(Step::File { path: folder.join(name), content });
    }
    if record.ipc.is_some() {
        steps.push(Step::SharedMemory { path: folder.join(files::SHM), bytes: SHM_BYTES });
    }
    let linux = record.config.linux.clone().unwrap_or_default();
    let desired = netns::Desired {
        net: record.net.clone(),
        ipc: record.ipc.clone(),
        uts: record.uts.clone(),
        user: record.user_namespace().map(|user| user.desired()),
        hostname: record.uts.as_ref().map(|_| record.hostname.clone()),
        sysctls: linux.sysctls.into_iter().collect(),
    };
    if desired.net.is_some() || desired.ipc.is_some() || desired.uts.is_some() || !desired.sysctls.is_empty()
    {
        steps.push(Step::Namespaces { pins: paths.pins(&record.id), desired });
    }
    if !record.config.log_directory.is_empty() {
        steps.push(Step::LogFolder { path: PathBuf::from(&record.config.log_directory) });
    }
    if record.namespace_options().network() == NamespaceMode::Pod && record.net.is_some() {
        steps.push(Step::Network);
    }
    steps
}

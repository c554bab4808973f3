//! Where the kubelet keeps files: the standard places, below one root.
//!
//! ```text
//! <root>/pods/<uid>/etc-hosts
//!                  /volumes/kubernetes.io~<plugin>/<name>/
//!                  /containers/<name>/<attempt>        termination message
//! <pod logs>/<namespace>_<name>_<uid>/<container>/<attempt>.log
//! <container logs>/<pod>_<namespace>_<container>-<id>.log -> the file above
//! ```

use std::path::PathBuf;

use crate::pod::{Pod, PodUid};

/// The folders' roots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// `/var/lib/kubelet`
    pub root: PathBuf,
    /// `/var/log/pods`
    pub pod_logs: PathBuf,
    /// `/var/log/containers`
    pub container_logs: PathBuf,
}

impl Paths {
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// Everything of one pod but its logs.
    pub fn pod(&self, uid: &PodUid) -> PathBuf {
        self.pods().join(uid.as_str())
    }

    /// One volume; `plugin` such as `kubernetes.io~empty-dir`.
    pub fn volume(&self, uid: &PodUid, plugin: &str, name: &str) -> PathBuf {
        self.volumes(uid).join(plugin).join(name)
    }

    pub fn volumes(&self, uid: &PodUid) -> PathBuf {
        self.pod(uid).join("volumes")
    }

    pub fn hosts_file(&self, uid: &PodUid) -> PathBuf {
        self.pod(uid).join("etc-hosts")
    }

    /// What a container's attempt says when it ends.
    pub fn termination_message(&self, uid: &PodUid, container: &str, attempt: u32) -> PathBuf {
        self.pod(uid).join("containers").join(container).join(attempt.to_string())
    }

    /// The sandbox's `log_directory`.
    pub fn log_directory(&self, pod: &Pod) -> PathBuf {
        self.pod_logs.join(format!("{}_{}_{}", pod.key.namespace, pod.key.name, pod.uid))
    }

    /// The container's `log_path`, below [`Paths::log_directory`].
    pub fn log_path(container: &str, attempt: u32) -> String {
        format!("{container}/{attempt}.log")
    }

    /// The link that log collectors look for.
    pub fn container_log_link(&self, pod: &Pod, container: &str, id: &str) -> PathBuf {
        self.container_logs.join(format!("{}_{}_{container}-{id}.log", pod.key.name, pod.key.namespace))
    }
}

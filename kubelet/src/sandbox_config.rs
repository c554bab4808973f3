//! What the runtime is told to make a pod's sandbox with. Pure.
//!
//! Reference: CRI PodSandboxConfig.

use cri_api::v1;

use crate::facts::NodeFacts;
use crate::paths::Paths;
use crate::pod::Pod;

/// Everything a sandbox's configuration is made of.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    pub pod: &'a Pod,
    pub attempt: u32,
    pub node: &'a NodeFacts,
    pub paths: &'a Paths,
    /// The node's own resolv.conf.
    pub resolv_conf: &'a str,
    /// The pod's cgroup: a path, or a slice's name with the systemd driver.
    pub cgroup_parent: &'a str,
}

/// Something the pod's owner should hear of: reason and message of a Warning event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub reason: &'static str,
    pub message: String,
}

/// Why there is no configuration: `FailedCreatePodSandBox` with this message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct SandboxConfigError(pub String);

/// The configuration, and what had to be left out of it.
pub fn of(inputs: &Inputs<'_>) -> Result<(v1::PodSandboxConfig, Vec<Warning>), SandboxConfigError> {
    let (pod, paths) = (inputs.pod, inputs.paths);
    let config = v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: pod.key.name.clone(),
            uid: pod.uid.to_string(),
            namespace: pod.key.namespace.clone(),
            attempt: inputs.attempt,
        }),
        log_directory: paths.log_directory(pod).to_string_lossy().into_owned(),
        ..Default::default()
    };
    Ok((config, Vec::new()))
}

//! What the runtime is told to start a container with, from the pod's wish. Pure.
//!
//! Reference: CRI ContainerConfig.

use std::path::PathBuf;

use cri_api::v1;

use crate::facts::NodeFacts;
use crate::pod::{Container, Pod};

/// What the image says that a container depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// The id by which the runtime knows it: what ContainerConfig.image carries.
    pub id: String,
    /// The user it runs as by default: a number, or a name.
    pub uid: Option<i64>,
    pub username: String,
}

/// Everything a container's configuration is made of.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub attempt: u32,
    pub node: &'a NodeFacts,
    pub image: &'a ImageFacts,
    /// In order; names may repeat, the last one counts.
    pub environment: &'a [(String, String)],
    /// Of the volumes, as [`crate::volumes::Volumes::mounts`] has them.
    pub mounts: &'a [v1::Mount],
    /// Bind-mounted to /etc/hosts; none with the node's network or where the pod mounts its own.
    pub hosts_file: Option<PathBuf>,
    /// An empty file, bind-mounted to terminationMessagePath.
    pub termination_message: Option<PathBuf>,
    /// Further annotations; labels and annotations as upstream has them are made here.
    pub annotations: std::collections::BTreeMap<String, String>,
    /// With `targetContainerName` of an ephemeral container: that one's id.
    pub target: Option<String>,
}

/// Why there is no configuration: the container waits with `CreateContainerConfigError`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ContainerConfigError(pub String);

/// The configuration; names in `log_path` as [`crate::paths::Paths::log_path`] has them.
pub fn of(inputs: &Inputs<'_>) -> Result<v1::ContainerConfig, ContainerConfigError> {
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata {
            name: inputs.container.name.clone(),
            attempt: inputs.attempt,
        }),
        image: Some(v1::ImageSpec { image: inputs.image.id.clone(), ..Default::default() }),
        annotations: inputs.annotations.clone(),
        log_path: crate::paths::Paths::log_path(&inputs.container.name, inputs.attempt),
        ..Default::default()
    })
}

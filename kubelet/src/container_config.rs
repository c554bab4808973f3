//! What the runtime is told to start a container with, from the pod's wish. Pure.
//!
//! Reference: CRI ContainerConfig.

mod mounts;
pub mod namespaces;
pub mod oom_score;
pub mod resources;
pub mod security;
mod signal;
mod sizes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use cri_api::v1;
use serde_json::Value;

use crate::environment::expansion::expand_from;
use crate::facts::NodeFacts;
use crate::labels;
use crate::paths::Paths;
use crate::pod::{Container, Pod};

pub use sizes::{MADE_WITH, Sizes};

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
    /// The pod's own ids; its mounts show those, too.
    pub user: Option<&'a v1::UserNamespace>,
    /// Bind-mounted to /etc/hosts, unless the container brings its own.
    pub hosts_file: Option<PathBuf>,
    /// An empty file, bind-mounted to terminationMessagePath.
    pub termination_message: Option<PathBuf>,
    /// Besides those of [`labels::container_annotations`].
    pub annotations: BTreeMap<String, String>,
    /// With `targetContainerName` of an ephemeral container: that one's id.
    pub target: Option<String>,
}

/// Why there is no configuration: the container waits with `CreateContainerConfigError`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ContainerConfigError(pub String);

/// The configuration; names in `log_path` as [`Paths::log_path`] has them.
pub fn of(inputs: &Inputs<'_>) -> Result<v1::ContainerConfig, ContainerConfigError> {
    let (pod, container) = (inputs.pod, inputs.container);
    let words = |field: &str| -> Vec<String> {
        let items = container.value[field].as_array().into_iter().flatten();
        items.filter_map(Value::as_str).map(|word| expand_from(word, inputs.environment)).collect()
    };
    let linux = v1::LinuxContainerConfig {
        resources: Some(resources::of(pod, container, inputs.node)),
        security_context: Some(security::of(inputs).map_err(ContainerConfigError)?),
    };
    let envs = inputs.environment.iter();
    let mut annotations = inputs.annotations.clone();
    annotations.extend(labels::container_annotations(pod, container, inputs.attempt));
    annotations.insert(MADE_WITH.to_owned(), Sizes::of(pod, container).annotation());
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: container.name.clone(), attempt: inputs.attempt }),
        image: Some(v1::ImageSpec {
            image: inputs.image.id.clone(),
            user_specified_image: container.image.clone(),
            ..Default::default()
        }),
        command: words("command"),
        args: words("args"),
        working_dir: container.value["workingDir"].as_str().unwrap_or_default().to_owned(),
        envs: envs.map(|(key, value)| v1::KeyValue { key: key.clone(), value: value.clone() }).collect(),
        mounts: mounts::all(inputs),
        labels: labels::of_container(pod, container),
        annotations,
        log_path: Paths::log_path(&container.name, inputs.attempt),
        stdin: container.value["stdin"] == true,
        stdin_once: container.value["stdinOnce"] == true,
        tty: container.value["tty"] == true,
        linux: Some(linux),
        stop_signal: signal::of(&container.value["lifecycle"]["stopSignal"]).into(),
        ..Default::default()
    })
}

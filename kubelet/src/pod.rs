//! A pod as far as the kubelet looks at it: a typed projection over the object as it came.
//!
//! Not a copy of PodSpec: whoever needs a field that only it looks at reads it from [`Pod::spec`] or
//! [`Container::value`].
//!
//! Invariant: reading never fails; a field that is missing has the API's default.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api::meta::Meta;
use client::{Key, Object, Reference, Resource};
use serde_json::Value;

/// A pod's UID.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodUid(String);

/// What becomes of containers that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    #[default]
    Always,
    OnFailure,
    Never,
}

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container with `restartPolicy: Always`: started in order, runs as long as the pod.
    Sidecar,
    /// One of `containers`.
    Main,
    /// Added for debugging; never restarted.
    Ephemeral,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// Deletion has been asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// When it was asked, plus the grace, as the API writes it.
    pub timestamp: String,
    pub grace_seconds: i64,
}

/// One container's wish.
#[derive(Clone, Debug)]
pub struct Container {
    pub name: String,
    pub image: String,
    pub role: Role,
    pub pull_policy: PullPolicy,
    /// The object in the specification.
    pub value: Value,
}

/// One version of a pod.
#[derive(Clone, Debug)]
pub struct Pod {
    pub key: Key,
    pub uid: PodUid,
    pub generation: i64,
    pub restart_policy: RestartPolicy,
    /// Init containers and sidecars, in order.
    pub init: Vec<Container>,
    pub main: Vec<Container>,
    pub ephemeral: Vec<Container>,
    pub host_network: bool,
    pub deletion: Option<Deletion>,
    /// `terminationGracePeriodSeconds`
    pub grace_seconds: i64,
    pub active_deadline: Option<Duration>,
    object: Arc<Object>,
}

impl PodUid {
    pub fn new(uid: impl Into<String>) -> PodUid {
        PodUid(uid.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Pod ===

impl Pod {
    pub fn read(object: Arc<Object>) -> Pod {
        let value = object.value();
        let meta = Meta::of(value);
        let spec = &value["spec"];
        let list = |field: &str, role: fn(&Value) -> Role| -> Vec<Container> {
            let items = spec[field].as_array().into_iter().flatten();
            items.map(|item| Container::read(item, role(item))).collect()
        };
        let sidecar =
            |item: &Value| if item["restartPolicy"] == "Always" { Role::Sidecar } else { Role::Init };
        let deletion = meta.deletion_timestamp().map(|timestamp| Deletion {
            timestamp: timestamp.to_owned(),
            grace_seconds: meta.deletion_grace_period_seconds().unwrap_or_default(),
        });
        Pod {
            key: Key::new(meta.namespace(), meta.name()),
            uid: PodUid::new(meta.uid()),
            generation: meta.generation(),
            restart_policy: RestartPolicy::read(&spec["restartPolicy"]),
            init: list("initContainers", sidecar),
            main: list("containers", |_| Role::Main),
            ephemeral: list("ephemeralContainers", |_| Role::Ephemeral),
            host_network: spec["hostNetwork"] == true,
            deletion,
            grace_seconds: spec["terminationGracePeriodSeconds"].as_i64().unwrap_or(DEFAULT_GRACE_SECONDS),
            active_deadline: spec["activeDeadlineSeconds"].as_u64().map(Duration::from_secs),
            object,
        }
    }

    /// A pod from a value: tests, static pods.
    pub fn of(value: Value) -> Pod {
        Pod::read(Arc::new(Object::of(&Resource::PODS, value)))
    }

    pub fn value(&self) -> &Value {
        self.object.value()
    }

    pub fn meta(&self) -> Meta<'_> {
        Meta::of(self.value())
    }

    pub fn spec(&self) -> &Value {
        &self.value()["spec"]
    }

    pub fn status(&self) -> &Value {
        &self.value()["status"]
    }

    /// `status.phase` is Succeeded or Failed.
    pub fn is_finished(&self) -> bool {
        matches!(self.status()["phase"].as_str(), Some("Succeeded" | "Failed"))
    }

    pub fn service_account(&self) -> &str {
        self.spec()["serviceAccountName"].as_str().unwrap_or("default")
    }

    /// In the order in which they start: init, main, ephemeral.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        self.init.iter().chain(&self.main).chain(&self.ephemeral)
    }

    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers().find(|container| container.name == name)
    }

    /// What the API has of a container; null where it has nothing.
    pub fn container_status(&self, container: &Container) -> &Value {
        const NOTHING: &Value = &Value::Null;
        let list = match container.role {
            Role::Init | Role::Sidecar => "initContainerStatuses",
            Role::Main => "containerStatuses",
            Role::Ephemeral => "ephemeralContainerStatuses",
        };
        let mut all = self.status()[list].as_array().into_iter().flatten();
        all.find(|status| status["name"] == container.name.as_str()).unwrap_or(NOTHING)
    }

    pub fn reference(&self) -> Reference {
        Reference::to(&self.object)
    }

    /// The reference of events about one container: `spec.containers{web}`.
    pub fn container_reference(&self, container: &Container) -> Reference {
        let list = match container.role {
            Role::Init | Role::Sidecar => "initContainers",
            Role::Main => "containers",
            Role::Ephemeral => "ephemeralContainers",
        };
        Reference { field_path: format!("spec.{list}{{{}}}", container.name), ..self.reference() }
    }
}

const DEFAULT_GRACE_SECONDS: i64 = 30;

impl RestartPolicy {
    fn read(value: &Value) -> RestartPolicy {
        match value.as_str() {
            Some("OnFailure") => RestartPolicy::OnFailure,
            Some("Never") => RestartPolicy::Never,
            _ => RestartPolicy::Always,
        }
    }
}

// === impl PullPolicy ===

impl PullPolicy {
    /// What is not said depends on the image's tag.
    pub fn read(value: &Value, image: &str) -> PullPolicy {
        match value.as_str() {
            Some("Always") => PullPolicy::Always,
            Some("Never") => PullPolicy::Never,
            Some("IfNotPresent") => PullPolicy::IfNotPresent,
            _ if is_latest(image) => PullPolicy::Always,
            _ => PullPolicy::IfNotPresent,
        }
    }
}

// === impl Container ===

impl Container {
    fn read(value: &Value, role: Role) -> Container {
        let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        let image = text("image");
        let pull_policy = PullPolicy::read(&value["imagePullPolicy"], &image);
        Container { name: text("name"), image, role, pull_policy, value: value.clone() }
    }

    pub fn is_restartable_init(&self) -> bool {
        self.role == Role::Sidecar
    }

    /// `/dev/termination-log` unless another path is given.
    pub fn termination_message_path(&self) -> &str {
        match self.value["terminationMessagePath"].as_str() {
            None | Some("") => "/dev/termination-log",
            Some(path) => path,
        }
    }
}

/// No tag and no digest, or the tag `latest`.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// The pod's addresses as the runtime tells them; the node's own for pods in its network.
pub type Addresses = Vec<IpAddr>;

//! A pod as far as scheduling looks at it.

use std::fmt;
use std::sync::Arc;

use api::meta::Meta;
use client::{Key, Reference, Resource};
use serde_json::Value;

use crate::affinity::NodeAffinity;
use crate::claims::Claims;
use crate::node::NodeName;
use crate::peers::Identity;
use crate::resources::Requests;
use crate::taint::Toleration;
use crate::topology_spread::TopologySpread;

/// A pod's UID.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodUid(String);

#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    pub key: Key,
    pub uid: PodUid,
    resource_version: String,
    pub generation: i64,
    /// As the API writes it, so it sorts by time.
    pub created: String,
    pub node: Option<NodeName>,
    pub scheduler: String,
    pub terminating: bool,
    /// Succeeded or failed: it holds no resources any more.
    pub finished: bool,
    /// When its node took it, as the API writes it.
    pub started: Option<String>,
    /// It is on its way out so that another gets its place.
    pub preempted: bool,
    /// The node that it is promised, as the API has it.
    pub nominated: Option<NodeName>,
    /// The condition `PodScheduled` that it has.
    pub condition: Option<Condition>,
    /// What its neighbours see; shared with pods that look the same, once it is placed.
    pub identity: Arc<Identity>,
    pub spread: TopologySpread,
    pub wish: Wish,
    /// What its claims say; filled in when its turn comes.
    pub claims: Claims,
}

/// What decides where the pod may go: while this is the same, a refusal stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    pub priority: i64,
    pub gated: bool,
    /// Whether it may take the place of others; false for `preemptionPolicy: Never`.
    pub preempts: bool,
    pub requests: Requests,
    pub ports: Vec<HostPort>,
    pub tolerations: Vec<Toleration>,
    pub affinity: NodeAffinity,
    pub claims: Vec<Claim>,
}

/// A claim that the pod mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub name: String,
    /// Made for this pod alone.
    pub ephemeral: bool,
}

/// A port taken on the node itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// `0.0.0.0` stands for every address.
    pub address: String,
    pub protocol: String,
    pub port: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    pub status: String,
    pub reason: String,
    pub message: String,
    pub last_transition_time: String,
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

impl Pod {
    pub fn read(pod: &Value) -> Pod {
        let meta = Meta::of(pod);
        let (spec, status) = (&pod["spec"], &pod["status"]);
        let name = |node: &Value| node.as_str().filter(|node| !node.is_empty()).map(NodeName::new);
        let terminating = meta.deletion_timestamp().is_some();
        Pod {
            key: Key::new(meta.namespace(), meta.name()),
            uid: PodUid::new(meta.uid()),
            resource_version: meta.resource_version().to_owned(),
            generation: meta.generation(),
            created: meta.creation_timestamp().to_owned(),
            node: name(&spec["nodeName"]),
            scheduler: spec["schedulerName"].as_str().unwrap_or_default().to_owned(),
            terminating,
            finished: matches!(status["phase"].as_str(), Some("Succeeded" | "Failed")),
            started: status["startTime"].as_str().map(str::to_owned),
            preempted: terminating && is_preempted(&status["conditions"]),
            nominated: name(&status["nominatedNodeName"]),
            condition: Condition::read(&status["conditions"]),
            identity: Arc::new(Identity::read(meta, spec)),
            spread: TopologySpread::read(spec),
            wish: Wish::read(meta.name(), spec, &api::pod_size::counted(pod)),
            claims: Claims::default(),
        }
    }

    /// The pod with a node that the API may not have heard of yet.
    pub fn placed(&self, node: NodeName) -> Pod {
        Pod { node: Some(node), ..self.clone() }
    }

    /// The pod with what its claims say.
    pub fn claiming(&self, claims: Claims) -> Pod {
        Pod { claims, ..self.clone() }
    }

    pub fn reference(&self) -> Reference {
        Reference {
            api_version: Resource::PODS.api_version(),
            kind: Resource::PODS.kind.to_string(),
            namespace: self.key.namespace.clone(),
            name: self.key.name.clone(),
            uid: self.uid.to_string(),
            resource_version: self.resource_version.clone(),
            field_path: String::new(),
        }
    }
}

impl Wish {
    /// `counted`: the specification with what counts while the pod is resized.
    fn read(name: &str, spec: &Value, counted: &Value) -> Wish {
        Wish {
            priority: spec["priority"].as_i64().unwrap_or_default(),
            gated: spec["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()),
            preempts: spec["preemptionPolicy"] != "Never",
            requests: Requests::of(counted),
            ports: host_ports(spec),
            tolerations: Toleration::read_all(&spec["tolerations"]),
            affinity: NodeAffinity::read(spec),
            claims: claims(name, spec),
        }
    }
}

fn is_preempted(conditions: &Value) -> bool {
    let mut conditions = conditions.as_array().into_iter().flatten();
    let target = conditions.find(|condition| condition["type"] == "DisruptionTarget");
    target.is_some_and(|target| target["status"] == "True" && target["reason"] == "PreemptionByScheduler")
}

/// The claims of a pod of this name.
fn claims(pod: &str, spec: &Value) -> Vec<Claim> {
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    let claim = |volume: &Value| match volume["persistentVolumeClaim"]["claimName"].as_str() {
        Some(name) => Some(Claim { name: name.to_owned(), ephemeral: false }),
        None if volume["ephemeral"].is_object() => {
            let name = format!("{pod}-{}", volume["name"].as_str().unwrap_or_default());
            Some(Claim { name, ephemeral: true })
        }
        None => None,
    };
    volumes.filter_map(claim).collect()
}

/// Ports of containers and of sidecars; those of other init containers are free again when the pod runs.
fn host_ports(spec: &Value) -> Vec<HostPort> {
    let containers = spec["containers"].as_array().into_iter().flatten();
    let starting = spec["initContainers"].as_array().into_iter().flatten();
    let sidecars = starting.filter(|container| container["restartPolicy"] == "Always");
    let ports =
        containers.chain(sidecars).flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let or = |value: &Value, default: &str| match value.as_str() {
        None | Some("") => default.to_owned(),
        Some(text) => text.to_owned(),
    };
    ports
        .filter_map(|port| {
            let number = port["hostPort"].as_u64().filter(|number| *number > 0)?;
            let (address, protocol) = (or(&port["hostIP"], "0.0.0.0"), or(&port["protocol"], "TCP"));
            Some(HostPort { address, protocol, port: number })
        })
        .collect()
}

impl HostPort {
    pub fn collides(&self, other: &HostPort) -> bool {
        let all = |port: &HostPort| port.address == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address || all(self) || all(other))
    }
}

impl Condition {
    fn read(conditions: &Value) -> Option<Condition> {
        let mut conditions = conditions.as_array().into_iter().flatten();
        let found = conditions.find(|condition| condition["type"] == "PodScheduled")?;
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        Some(Condition {
            status: text("status"),
            reason: text("reason"),
            message: text("message"),
            last_transition_time: text("lastTransitionTime"),
        })
    }
}

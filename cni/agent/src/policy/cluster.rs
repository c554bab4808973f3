//! What policies are about: pods with their labels and addresses, namespaces with their labels.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

use super::rule::{Policy, items, protocol_number, version};

pub type Labels = BTreeMap<String, String>;

/// All that policies tell pods apart by, beside their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class {
    pub namespace: String,
    pub labels: Labels,
    /// Named ports of its containers: name, protocol, number.
    pub ports: Vec<(String, u8, u16)>,
}

/// A pod with a network of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub name: String,
    pub uid: String,
    /// Of the static pod that it mirrors, if it does.
    pub mirrors: String,
    pub version: u64,
    pub class: Arc<Class>,
    /// As its status has them; of this node's pods the plugin's word counts.
    pub addresses: Vec<IpAddr>,
    pub created: String,
}

/// What the API has, for who asks about it once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    pub policies: Vec<Policy>,
    pub namespaces: BTreeMap<String, Labels>,
    pub pods: Vec<Arc<Pod>>,
}

impl Class {
    /// Numbers of a named port.
    pub fn named(&self, name: &str, protocol: u8) -> impl Iterator<Item = u16> + '_ {
        let name = name.to_owned();
        let same = move |(known, of, _): &&(String, u8, u16)| *known == name && *of == protocol;
        self.ports.iter().filter(same).map(|(_, _, number)| *number)
    }
}

impl Pod {
    /// None: it has the node's network, or is over, so that its address is its own no longer.
    pub fn read(object: &Value) -> Option<Pod> {
        let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
        if spec["hostNetwork"] == true || matches!(status["phase"].as_str(), Some("Succeeded" | "Failed")) {
            return None;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut addresses: Vec<IpAddr> =
            items(&status["podIPs"]).filter_map(|ip| ip["ip"].as_str()?.parse().ok()).collect();
        if addresses.is_empty() {
            addresses.extend(status["podIP"].as_str().and_then(|ip| ip.parse::<IpAddr>().ok()));
        }
        Some(Pod {
            name: text(&metadata["name"]),
            uid: text(&metadata["uid"]),
            mirrors: text(&metadata["annotations"]["kubernetes.io/config.mirror"]),
            version: version(object),
            class: Arc::new(Class {
                namespace: text(&metadata["namespace"]),
                labels: labels(metadata),
                ports: named_ports(spec),
            }),
            addresses,
            created: text(&metadata["creationTimestamp"]),
        })
    }

    /// Whether only their versions differ.
    pub fn is_like(&self, other: &Pod) -> bool {
        let Pod { name, uid, mirrors, version: _, class, addresses, created } = self;
        (name, uid, mirrors) == (&other.name, &other.uid, &other.mirrors)
            && (class, addresses, created) == (&other.class, &other.addresses, &other.created)
    }

    pub fn is(&self, uid: &str) -> bool {
        self.uid == uid || (!self.mirrors.is_empty() && self.mirrors == uid)
    }
}

pub fn labels(metadata: &Value) -> Labels {
    let labels = metadata["labels"].as_object().into_iter().flatten();
    labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

fn named_ports(spec: &Value) -> Vec<(String, u8, u16)> {
    let restarts = |container: &&Value| container["restartPolicy"] == "Always";
    let containers = items(&spec["containers"]).chain(items(&spec["initContainers"]).filter(restarts));
    let mut ports: Vec<(String, u8, u16)> = containers
        .flat_map(|container| items(&container["ports"]))
        .filter_map(|port| {
            let protocol = protocol_number(port["protocol"].as_str().unwrap_or("TCP"))?;
            let number = u16::try_from(port["containerPort"].as_u64()?).ok()?;
            Some((port["name"].as_str()?.to_owned(), protocol, number))
        })
        .collect();
    ports.sort();
    ports.dedup();
    ports
}

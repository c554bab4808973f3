//! Placed pods as their neighbours see them: what makes two pods alike, and how many of each kind a node has.
//!
//! Replicas share an identity, so whoever counts pods looks at identities and at the nodes that have them, not at
//! every pod on every node.
//!
//! **Invariant.** An identity is here as long as a placed pod has it; a node is in its list as long as such a pod is there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use api::meta::Meta;

use crate::node::NodeName;
use crate::pod::Pod;
use crate::pod_affinity::PodAffinity;

/// Labels by key.
pub type Labels = BTreeMap<String, String>;

/// What other pods can tell a pod by, and what it wants of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    pub namespace: String,
    pub labels: Labels,
    /// UID of the controller; replicas share it.
    pub controller: Option<String>,
    pub affinity: PodAffinity,
}

/// Pods of one identity on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub all: i64,
    /// Those that are being deleted.
    pub terminating: i64,
}

/// Where the pods of one identity are.
pub type Placed = BTreeMap<NodeName, Count>;

/// All placed pods, counted.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    /// By namespace: those that want nothing of their neighbours, and those that do.
    namespaces: HashMap<String, [HashMap<Arc<Identity>, Placed>; 2]>,
}

impl Identity {
    pub fn read(meta: Meta<'_>, spec: &Value) -> Identity {
        Identity {
            namespace: meta.namespace().to_owned(),
            labels: labels(meta),
            controller: meta.controller().map(|owner| owner.uid.to_owned()),
            affinity: PodAffinity::read(meta.namespace(), &spec["affinity"]),
        }
    }
}

impl Count {
    pub fn staying(self) -> i64 {
        self.all - self.terminating
    }

    /// One pod.
    pub fn of(pod: &Pod) -> Count {
        Count { all: 1, terminating: i64::from(pod.terminating) }
    }

    fn add(&mut self, other: Count, sign: i64) {
        self.all += sign * other.all;
        self.terminating += sign * other.terminating;
    }
}

impl Peers {
    /// The identity as others have it already: one copy for all.
    pub fn add(&mut self, pod: &Pod, node: &NodeName) -> Arc<Identity> {
        let namespace = self.namespaces.entry(pod.identity.namespace.clone()).or_default();
        let identities = &mut namespace[wants(&pod.identity)];
        let identity =
            identities.get_key_value(&pod.identity).map_or(&pod.identity, |(identity, _)| identity).clone();
        let placed = identities.entry(identity.clone()).or_default();
        placed.entry(node.clone()).or_default().add(Count::of(pod), 1);
        identity
    }

    pub fn remove(&mut self, pod: &Pod, node: &NodeName) {
        let Some(namespace) = self.namespaces.get_mut(&pod.identity.namespace) else { return };
        let identities = &mut namespace[wants(&pod.identity)];
        if let Some(placed) = identities.get_mut(&pod.identity) {
            if let Some(count) = placed.get_mut(node) {
                count.add(Count::of(pod), -1);
                if count.all == 0 {
                    placed.remove(node);
                }
            }
            if placed.is_empty() {
                identities.remove(&pod.identity);
            }
        }
        if namespace.iter().all(HashMap::is_empty) {
            self.namespaces.remove(&pod.identity.namespace);
        }
    }

    pub fn all(&self) -> impl Iterator<Item = (&Identity, &Placed)> {
        self.namespaces.values().flatten().flatten().map(|(identity, placed)| (identity.as_ref(), placed))
    }

    /// Pods that want something of their neighbours.
    pub fn with_affinity(&self) -> impl Iterator<Item = (&Identity, &Placed)> {
        let lists = self.namespaces.values().flat_map(|[_, wanting]| wanting);
        lists.map(|(identity, placed)| (identity.as_ref(), placed))
    }

    pub fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = (&Identity, &Placed)> {
        let lists = self.namespaces.get(namespace).into_iter().flatten().flatten();
        lists.map(|(identity, placed)| (identity.as_ref(), placed))
    }
}

pub fn labels(meta: Meta<'_>) -> Labels {
    let labels = meta.labels().into_iter().flatten();
    labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

fn wants(identity: &Identity) -> usize {
    usize::from(!identity.affinity.is_empty())
}

//! The nodes and what is placed on them: in the API, or by a decision that the API has not confirmed yet.
//!
//! **Invariants**
//! - A pod is on at most one node; its room is given back with `remove` alone.
//! - A node's sums are those of its pods.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use client::Key;

use crate::budgets::Budget;
use crate::node::{Differences, Node, NodeName};
use crate::nominations::Nominations;
use crate::peers::{Labels, Peers};
use crate::pod::{Pod, PodUid};
use crate::pod_affinity::Namespaces;
use crate::resources::Resources;

#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    rooms: BTreeMap<NodeName, Room>,
    /// Where each pod is.
    places: HashMap<PodUid, NodeName>,
    /// How many placed pods have each priority.
    priorities: BTreeMap<i64, usize>,
    peers: Peers,
    namespaces: Namespaces,
    nominations: Nominations,
    budgets: BTreeMap<Key, Budget>,
}

/// One node with its pods. The node may be missing while pods of it are known.
#[derive(Clone, Debug, Default)]
pub struct Room {
    node: Option<Arc<Node>>,
    pods: BTreeMap<PodUid, Arc<Pod>>,
    /// What the pods ask for.
    requested: Resources,
    /// The same with assumed amounts.
    assumed: Resources,
}

/// What became of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeChange {
    Added,
    Changed(Differences),
}

impl Snapshot {
    /// Nodes that exist, by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&Node, &Room)> {
        self.rooms.values().filter_map(|room| Some((room.node.as_deref()?, room)))
    }

    pub fn set_node(&mut self, node: Node) -> NodeChange {
        let room = self.rooms.entry(node.name.clone()).or_default();
        let change = match &room.node {
            None => NodeChange::Added,
            Some(old) => NodeChange::Changed(old.differences(&node)),
        };
        room.node = Some(Arc::new(node));
        change
    }

    pub fn remove_node(&mut self, name: &NodeName) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.node = None;
        }
        self.drop_if_empty(name);
    }

    /// Places a pod on the node that it names; moves it where it was elsewhere.
    pub fn place(&mut self, mut pod: Arc<Pod>) {
        self.remove(&pod.uid);
        self.nominations.remove(&pod.uid);
        let Some(node) = pod.node.clone() else { return };
        self.places.insert(pod.uid.clone(), node.clone());
        *self.priorities.entry(pod.wish.priority).or_default() += 1;
        let identity = self.peers.add(&pod, &node);
        if !Arc::ptr_eq(&identity, &pod.identity) {
            Arc::make_mut(&mut pod).identity = identity;
        }
        let room = self.rooms.entry(node).or_default();
        room.add(pod);
    }

    /// Gives a pod's room back; whether it had any.
    pub fn remove(&mut self, uid: &PodUid) -> bool {
        let Some(node) = self.places.remove(uid) else { return false };
        if let Some(room) = self.rooms.get_mut(&node)
            && let Some(pod) = room.remove(uid)
        {
            self.peers.remove(&pod, &node);
            if let Some(count) = self.priorities.get_mut(&pod.wish.priority) {
                *count -= 1;
                if *count == 0 {
                    self.priorities.remove(&pod.wish.priority);
                }
            }
        }
        self.drop_if_empty(&node);
        true
    }

    /// A namespace has these labels now; whether they are other ones.
    pub fn set_namespace(&mut self, name: &str, labels: Labels) -> bool {
        self.namespaces.insert(name.to_owned(), labels.clone()).is_none_or(|old| old != labels)
    }

    pub fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Of all placed pods.
    pub fn lowest_priority(&self) -> Option<i64> {
        self.priorities.first_key_value().map(|(priority, _)| *priority)
    }

    pub fn nominations(&self) -> &Nominations {
        &self.nominations
    }

    /// Promises a node to a pod that waits for others to go.
    pub fn nominate(&mut self, pod: Arc<Pod>, node: NodeName) {
        self.nominations.set(pod, node);
    }

    /// Takes a promise back; whether there was one.
    pub fn withdraw(&mut self, uid: &PodUid) -> bool {
        self.nominations.remove(uid)
    }

    pub fn set_budget(&mut self, key: Key, budget: Budget) {
        self.budgets.insert(key, budget);
    }

    pub fn remove_budget(&mut self, key: &Key) {
        self.budgets.remove(key);
    }

    pub fn budgets(&self) -> impl Iterator<Item = &Budget> {
        self.budgets.values()
    }

    /// All placed pods, counted.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.rooms.get(name)?.node.as_deref()
    }

    /// A node that exists, with its pods.
    pub fn at(&self, name: &NodeName) -> Option<(&Node, &Room)> {
        let room = self.rooms.get(name)?;
        Some((room.node.as_deref()?, room))
    }

    /// A pod that is on a node.
    pub fn pod(&self, uid: &PodUid) -> Option<&Pod> {
        self.rooms.get(self.places.get(uid)?)?.pods.get(uid).map(AsRef::as_ref)
    }

    pub fn holds(&self, uid: &PodUid) -> bool {
        self.places.contains_key(uid)
    }

    fn drop_if_empty(&mut self, name: &NodeName) {
        if self.rooms.get(name).is_some_and(|room| room.node.is_none() && room.pods.is_empty()) {
            self.rooms.remove(name);
        }
    }
}

impl Room {
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.values()
    }

    pub fn add(&mut self, pod: Arc<Pod>) {
        self.requested.add(&pod.wish.requests.exact);
        self.assumed.add(&pod.wish.requests.assumed);
        self.pods.insert(pod.uid.clone(), pod);
    }

    pub fn remove(&mut self, uid: &PodUid) -> Option<Arc<Pod>> {
        let pod = self.pods.remove(uid)?;
        self.requested.subtract(&pod.wish.requests.exact);
        self.assumed.subtract(&pod.wish.requests.assumed);
        Some(pod)
    }

    pub fn pod_count(&self) -> i64 {
        i64::try_from(self.pods.len()).unwrap_or(i64::MAX)
    }

    pub fn requested(&self) -> &Resources {
        &self.requested
    }

    pub fn assumed(&self) -> &Resources {
        &self.assumed
    }
}

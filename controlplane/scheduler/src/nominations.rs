//! Pods that a node is promised to once those whose place they take are gone.
//!
//! **Invariant.** A pod is promised one node at most, and none once it is placed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::node::NodeName;
use crate::pod::{Pod, PodUid};

#[derive(Clone, Debug, Default)]
pub struct Nominations {
    nodes: HashMap<PodUid, NodeName>,
    pods: HashMap<NodeName, BTreeMap<PodUid, Arc<Pod>>>,
}

impl Nominations {
    pub fn set(&mut self, pod: Arc<Pod>, node: NodeName) {
        self.remove(&pod.uid);
        self.nodes.insert(pod.uid.clone(), node.clone());
        self.pods.entry(node).or_default().insert(pod.uid.clone(), pod);
    }

    /// Whether there was one.
    pub fn remove(&mut self, uid: &PodUid) -> bool {
        let Some(node) = self.nodes.remove(uid) else { return false };
        if let Some(pods) = self.pods.get_mut(&node) {
            pods.remove(uid);
            if pods.is_empty() {
                self.pods.remove(&node);
            }
        }
        true
    }

    pub fn of(&self, uid: &PodUid) -> Option<&NodeName> {
        self.nodes.get(uid)
    }

    pub fn on(&self, node: &NodeName) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.get(node).into_iter().flat_map(BTreeMap::values)
    }
}

//! What other pods mean for the one whose turn it is: counted once for all nodes, and kept while pods are taken away or
//! added in thought.

use crate::node::Node;
use crate::pod::Pod;
use crate::pod_affinity::Required;
use crate::snapshot::Snapshot;
use crate::topology_spread::Skew;

#[derive(Clone, Debug)]
pub struct Neighbours<'a> {
    pub affinity: Required<'a>,
    pub spread: Skew<'a>,
}

impl<'a> Neighbours<'a> {
    pub fn of(pod: &'a Pod, snapshot: &'a Snapshot) -> Neighbours<'a> {
        Neighbours { affinity: Required::of(&pod.identity, snapshot), spread: Skew::of(pod, snapshot) }
    }

    /// A pod is on a node, too.
    pub fn add(&mut self, other: &Pod, node: &Node) {
        self.shift(other, node, 1);
    }

    /// A pod is not on its node any more.
    pub fn remove(&mut self, other: &Pod, node: &Node) {
        self.shift(other, node, -1);
    }

    fn shift(&mut self, other: &Pod, node: &Node, sign: i64) {
        self.affinity.shift(&other.identity, node, sign);
        self.spread.shift(other, node, sign);
    }
}

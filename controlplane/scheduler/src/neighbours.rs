//! What other pods mean for the one whose turn it is: counted once for all nodes.

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
}

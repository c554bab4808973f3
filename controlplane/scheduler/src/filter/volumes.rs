//! VolumeBinding and VolumeZone: nodes from which a volume of the pod cannot be reached.

use super::{Plugin, Rejection};
use crate::node::Node;
use crate::pod::Pod;

pub(super) fn affinity(pod: &Pod, node: &Node) -> Result<(), Rejection> {
    if pod.volumes.iter().all(|volume| volume.admits(node)) {
        return Ok(());
    }
    Err(Rejection::lasting(Plugin::VolumeBinding, "node(s) didn't match PersistentVolume's node affinity"))
}

pub(super) fn zone(pod: &Pod, node: &Node) -> Result<(), Rejection> {
    if pod.volumes.iter().all(|volume| volume.is_near(node)) {
        return Ok(());
    }
    Err(Rejection::lasting(Plugin::VolumeZone, "node(s) had no available volume zone"))
}

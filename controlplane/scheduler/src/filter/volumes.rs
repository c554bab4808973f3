//! VolumeBinding and VolumeZone: nodes from which a volume of the pod cannot be reached, or where a claim gets none.

use super::{Plugin, Rejection};
use crate::node::Node;
use crate::pod::Pod;

pub(super) fn binding(pod: &Pod, node: &Node) -> Result<(), Rejection> {
    let claims = &pod.claims;
    if claims.lost {
        let why = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
        return Err(Rejection::lasting(Plugin::VolumeBinding, why));
    }
    let reachable = claims.bound.iter().all(|volume| volume.admits(node));
    let reasons: Vec<String> = [
        (reachable, "node(s) didn't match PersistentVolume's node affinity"),
        (claims.choose(node).is_some(), "node(s) didn't find available persistent volumes to bind"),
    ]
    .into_iter()
    .filter(|(holds, _)| !holds)
    .map(|(_, why)| why.to_owned())
    .collect();
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(Rejection { plugin: Plugin::VolumeBinding, reasons, resolvable: false }),
    }
}

pub(super) fn zone(pod: &Pod, node: &Node) -> Result<(), Rejection> {
    if pod.claims.bound.iter().all(|volume| volume.is_near(node)) {
        return Ok(());
    }
    Err(Rejection::lasting(Plugin::VolumeZone, "node(s) had no available volume zone"))
}

//! PodTopologySpread by the cluster's defaults: replicas of one controller go to different nodes and zones.
//!
//! Upstream finds replicas by the selectors of their ReplicaSet and Services; the UID of their controller says the
//! same without reading those. No opinion on pods without a controller. Constraints that a pod states itself are
//! filters (`topology_spread`), not scores.

use std::collections::BTreeMap;

use super::{Candidates, MOST};
use crate::node::Node;
use crate::pod::Pod;
use crate::snapshot::{Room, Snapshot};

const ZONE: &str = "topology.kubernetes.io/zone";
/// How uneven nodes and zones may be, in the defaults.
const NODE_SKEW: f64 = 3.0;
const ZONE_SKEW: f64 = 5.0;

pub(super) fn score(pod: &Pod, candidates: &Candidates<'_>, snapshot: &Snapshot) -> Option<Vec<i64>> {
    let controller = pod.identity.controller.as_deref()?;
    let replicas = |room: &Room| {
        let same = |other: &&Pod| {
            !other.terminating
                && other.key.namespace == pod.key.namespace
                && other.identity.controller.as_deref() == Some(controller)
        };
        room.pods().filter(same).count() as f64
    };
    let mut zones: BTreeMap<&str, f64> =
        candidates.iter().filter_map(|(node, _)| Some((zone(node)?, 0.0))).collect();
    for (node, room) in snapshot.nodes().filter(|(node, _)| pod.wish.affinity.admits(node)) {
        if let Some(count) = zone(node).and_then(|zone| zones.get_mut(zone)) {
            *count += replicas(room);
        }
    }
    let (node_weight, zone_weight) = (weight(candidates.len()), weight(zones.len()));
    let raw: Vec<i64> = candidates
        .iter()
        .map(|(node, room)| {
            let by_node = replicas(room) * node_weight + NODE_SKEW - 1.0;
            let by_zone = zone(node)
                .and_then(|zone| zones.get(zone))
                .map(|count| count * zone_weight + ZONE_SKEW - 1.0);
            (by_node + by_zone.unwrap_or_default()).round() as i64
        })
        .collect();
    let most = raw.iter().copied().max().unwrap_or_default();
    let least = raw.iter().copied().min().unwrap_or_default();
    Some(
        raw.into_iter()
            .map(|score| if most == 0 { MOST } else { MOST * (most + least - score) / most })
            .collect(),
    )
}

/// The more domains there are, the more one replica counts.
fn weight(domains: usize) -> f64 {
    (domains as f64 + 2.0).ln()
}

fn zone(node: &Node) -> Option<&str> {
    node.labels.get(ZONE).map(String::as_str)
}

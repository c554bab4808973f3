//! Scores: which of the nodes that will do is the best?
//!
//! Every plugin gives each node 0 to 100; the sum counts, by upstream's weights. One plugin per file.

mod affinity;
mod balanced;
mod least_allocated;
mod pod_affinity;
mod taints;
mod topology_spread;

use crate::node::Node;
use crate::pod::Pod;
use crate::snapshot::{Room, Snapshot};

/// The best score of one plugin.
const MOST: i64 = 100;

/// Nodes that will do, each with its pods.
pub type Candidates<'a> = [(&'a Node, &'a Room)];

/// The plugins with their weights. Each answers with one score per candidate, or nothing where it has no opinion.
type Plugin = fn(&Pod, &Candidates<'_>, &Snapshot) -> Option<Vec<i64>>;
const PLUGINS: [(i64, Plugin); 6] = [
    (3, taints::score),
    (2, affinity::score),
    (1, least_allocated::score),
    (2, topology_spread::score),
    (2, pod_affinity::score),
    (1, balanced::score),
];

/// The weighted sum for every candidate.
pub fn totals(pod: &Pod, candidates: &Candidates<'_>, snapshot: &Snapshot) -> Vec<i64> {
    let mut sums = vec![0; candidates.len()];
    for (weight, plugin) in PLUGINS {
        for (sum, score) in sums.iter_mut().zip(plugin(pod, candidates, snapshot).unwrap_or_default()) {
            *sum += weight * score;
        }
    }
    sums
}

/// Stretches raw numbers so that the largest gets all points; reversed, so that it gets none.
fn normalized(mut raw: Vec<i64>, reverse: bool) -> Vec<i64> {
    let most = raw.iter().copied().max().unwrap_or_default();
    for score in &mut raw {
        let share = if most == 0 { 0 } else { MOST * *score / most };
        *score = if reverse { MOST - share } else { share };
    }
    raw
}

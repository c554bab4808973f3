//! The decision for one pod: a function of what is known.

use crate::affinity::Names;
use crate::filter::{self, Plugin};
use crate::neighbours::Neighbours;
use crate::node::{Node, NodeName};
use crate::pod::Pod;
use crate::refusal::{Refusal, Verdict};
use crate::score;
use crate::snapshot::{Room, Snapshot};

/// What becomes of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It goes there.
    Assign(NodeName),
    /// No node will do.
    Refuse(Refusal),
}

/// Finds the best node. `random` gives a number below its argument and decides between nodes of equal score.
pub fn plan(snapshot: &Snapshot, pod: &Pod, random: &mut dyn FnMut(u64) -> u64) -> Decision {
    let names = pod.wish.affinity.names();
    if names == Names::Conflict && snapshot.nodes().next().is_some() {
        let why = "pod affinity terms conflict";
        return Decision::Refuse(Refusal::everywhere(
            snapshot.nodes().count(),
            pod,
            why,
            Plugin::NodeAffinity,
        ));
    }
    if let Some(why) = &pod.claims.refusal
        && snapshot.nodes().next().is_some()
    {
        return Decision::Refuse(Refusal::everywhere(
            snapshot.nodes().count(),
            pod,
            why,
            Plugin::VolumeBinding,
        ));
    }
    let neighbours = Neighbours::of(pod, snapshot);
    let mut candidates: Vec<(&Node, &Room)> = Vec::new();
    let mut verdicts = Vec::new();
    for (node, room) in snapshot.nodes() {
        if let Names::Only(names) = &names
            && !names.contains(node.name.as_str())
        {
            verdicts.push(Verdict::NotNamed);
            continue;
        }
        match filter::check(pod, node, room, &neighbours) {
            Ok(()) => candidates.push((node, room)),
            Err(rejection) => verdicts.push(Verdict::Rejected(rejection)),
        }
    }
    match best(pod, &candidates, snapshot, random) {
        Some(node) => Decision::Assign(node),
        None => Decision::Refuse(Refusal::of(pod, &verdicts)),
    }
}

fn best(
    pod: &Pod,
    candidates: &[(&Node, &Room)],
    snapshot: &Snapshot,
    random: &mut dyn FnMut(u64) -> u64,
) -> Option<NodeName> {
    if let [(only, _)] = candidates {
        return Some(only.name.clone());
    }
    let totals = score::totals(pod, candidates, snapshot);
    let most = *totals.iter().max()?;
    let equal: Vec<&Node> = candidates
        .iter()
        .zip(&totals)
        .filter(|(_, total)| **total == most)
        .map(|((node, _), _)| *node)
        .collect();
    let count = u64::try_from(equal.len()).unwrap_or(u64::MAX);
    let chosen = usize::try_from(random(count)).unwrap_or_default();
    equal.get(chosen).or(equal.first()).map(|node| node.name.clone())
}

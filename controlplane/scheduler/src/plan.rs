//! The decision for one pod: a function of what is known.

use crate::affinity::Names;
use crate::filter::{self, Plugin};
use crate::neighbours::Neighbours;
use crate::node::{Node, NodeName};
use crate::pod::Pod;
use crate::preemption;
use crate::refusal::{Refusal, Verdict};
use crate::score;
use crate::snapshot::{Room, Snapshot};

/// What becomes of a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It goes there.
    Assign(NodeName),
    /// No node will do as it is.
    Refuse(Refusal),
}

type Place<'a> = (&'a Node, &'a Room);

/// Finds the best node. `random` gives a number below its argument and decides between nodes of equal score.
pub fn plan(snapshot: &Snapshot, pod: &Pod, random: &mut dyn FnMut(u64) -> u64) -> Decision {
    let nodes = snapshot.nodes().count();
    let names = pod.wish.affinity.names();
    if let Some((why, plugin)) = everywhere(pod, &names).filter(|_| nodes > 0) {
        let preemption = preemption::on_no_node(pod, snapshot);
        return Decision::Refuse(Refusal::everywhere(nodes, why, plugin, preemption));
    }
    let mut neighbours = Neighbours::of(pod, snapshot);
    if let Some(node) = promised(snapshot, pod, &names, &mut neighbours) {
        return Decision::Assign(node);
    }
    let mut candidates: Vec<Place<'_>> = Vec::new();
    let (mut potential, mut verdicts): (Vec<Place<'_>>, Vec<Verdict>) = (Vec::new(), Vec::new());
    for (node, room) in snapshot.nodes() {
        let verdict = match names.has(&node.name) {
            false => Verdict::NotNamed,
            true => match filter::check(pod, node, room, &mut neighbours, snapshot.nominations()) {
                Ok(()) => {
                    candidates.push((node, room));
                    continue;
                }
                Err(rejection) => Verdict::Rejected(rejection),
            },
        };
        if verdict.is_resolvable() {
            potential.push((node, room));
        }
        verdicts.push(verdict);
    }
    match best(pod, &candidates, snapshot, random) {
        Some(node) => Decision::Assign(node),
        None => {
            let preemption = preemption::preempt(pod, snapshot, &potential, &mut neighbours, random);
            Decision::Refuse(Refusal::of(&verdicts, preemption))
        }
    }
}

/// What holds on every node.
fn everywhere<'a>(pod: &'a Pod, names: &Names) -> Option<(&'a str, Plugin)> {
    match (names, &pod.claims.refusal) {
        (Names::Conflict, _) => Some(("pod affinity terms conflict", Plugin::NodeAffinity)),
        (_, Some(why)) => Some((why, Plugin::VolumeBinding)),
        _ => None,
    }
}

/// The node for which others have made room, if it will do.
fn promised(
    snapshot: &Snapshot,
    pod: &Pod,
    names: &Names,
    neighbours: &mut Neighbours<'_>,
) -> Option<NodeName> {
    let (node, room) = snapshot.at(snapshot.nominations().of(&pod.uid)?)?;
    let fits =
        names.has(&node.name) && filter::check(pod, node, room, neighbours, snapshot.nominations()).is_ok();
    fits.then(|| node.name.clone())
}

fn best(
    pod: &Pod,
    candidates: &[Place<'_>],
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

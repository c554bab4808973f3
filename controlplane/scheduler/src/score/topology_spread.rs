//! PodTopologySpread: the fewer pods of the same kind in a node's domains, the better.
//!
//! What counts are the pod's own constraints with `ScheduleAnyway`; for a pod that states none at all, the cluster's
//! defaults: replicas of one controller go to different nodes and zones. Upstream finds replicas by the selectors of their
//! ReplicaSet and Services; the UID of their controller says the same without reading those.

use std::collections::HashMap;

use super::{Candidates, MOST};
use crate::node::{Node, NodeName};
use crate::peers::Identity;
use crate::pod::Pod;
use crate::snapshot::Snapshot;
use crate::topology_spread::{Constraint, has_labels};

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";
/// How uneven nodes and zones may be, in the defaults.
const DEFAULTS: [(&str, i64); 2] = [(HOSTNAME, 3), (ZONE, 5)];

pub(super) fn score(pod: &Pod, candidates: &Candidates<'_>, snapshot: &Snapshot) -> Option<Vec<i64>> {
    let (defaults, controller) = (defaults(), pod.identity.controller.as_deref());
    let (constraints, all_labels) = match pod.spread.is_stated() {
        true => (pod.spread.soft.as_slice(), true),
        // A node without a zone still has a name.
        false => (defaults.as_slice(), false),
    };
    if constraints.is_empty() || (!all_labels && controller.is_none()) {
        return None;
    }
    let counts = |constraint: &Constraint, other: &Identity| match all_labels {
        true => constraint.selector.matches(&other.labels),
        false => other.controller.as_deref() == controller,
    };
    // A node that lacks a label gets no points.
    let scored = |node: &Node| !all_labels || has_labels(constraints, node);
    let mut raw: Vec<Option<f64>> = candidates.iter().map(|(node, _)| scored(node).then_some(0.0)).collect();
    for constraint in constraints {
        let pods = staying(pod, snapshot, |other| counts(constraint, other));
        let domains = Found::of(pod, constraint, candidates, snapshot, &pods, &scored);
        for ((node, _), score) in candidates.iter().zip(&mut raw) {
            if let (Some(score), Some(count)) = (score, domains.count(node)) {
                // The skew that is allowed blurs differences.
                *score += count as f64 * domains.weight + (constraint.most_skew - 1) as f64;
            }
        }
    }
    Some(normalized(&raw))
}

fn defaults() -> Vec<Constraint> {
    let of = |(topology, most_skew): (&str, i64)| Constraint::default_of(topology, most_skew);
    DEFAULTS.into_iter().map(of).collect()
}

/// Pods that count, by node.
fn staying<'a>(
    pod: &Pod,
    snapshot: &'a Snapshot,
    counts: impl Fn(&Identity) -> bool,
) -> HashMap<&'a NodeName, i64> {
    let mut pods = HashMap::new();
    for (_, placed) in
        snapshot.peers().in_namespace(&pod.identity.namespace).filter(|(other, _)| counts(other))
    {
        for (node, count) in placed {
            *pods.entry(node).or_default() += count.staying();
        }
    }
    pods
}

/// What a constraint has found.
struct Found<'a> {
    topology: &'a str,
    pods: &'a HashMap<&'a NodeName, i64>,
    /// Not for host names: there a node is its own domain.
    domains: HashMap<&'a str, i64>,
    /// The more domains there are, the more one pod counts.
    weight: f64,
}

impl<'a> Found<'a> {
    fn of(
        pod: &Pod,
        constraint: &'a Constraint,
        candidates: &Candidates<'a>,
        snapshot: &'a Snapshot,
        pods: &'a HashMap<&'a NodeName, i64>,
        scored: &dyn Fn(&Node) -> bool,
    ) -> Found<'a> {
        let topology = constraint.topology.as_str();
        let among = candidates.iter().filter(|(node, _)| scored(node));
        let value = |node: &'a Node| node.labels.get(topology).map(String::as_str).unwrap_or_default();
        let mut domains = HashMap::new();
        let size = match topology == HOSTNAME {
            true => among.count(),
            false => {
                domains.extend(among.map(|(node, _)| (value(node), 0)));
                for (name, count) in pods {
                    let Some(node) = snapshot.node(name) else { continue };
                    if scored(node)
                        && constraint.includes(pod, node)
                        && let Some(sum) = domains.get_mut(value(node))
                    {
                        *sum += count;
                    }
                }
                domains.len()
            }
        };
        Found { topology, pods, domains, weight: (size as f64 + 2.0).ln() }
    }

    /// Pods in the node's domain; none where it is in no domain.
    fn count(&self, node: &Node) -> Option<i64> {
        let domain = node.labels.get(self.topology)?;
        match self.topology == HOSTNAME {
            true => Some(self.pods.get(&node.name).copied().unwrap_or_default()),
            false => self.domains.get(domain.as_str()).copied(),
        }
    }
}

/// Fewest pods, most points; nodes that are not scored get none.
fn normalized(raw: &[Option<f64>]) -> Vec<i64> {
    let rounded: Vec<Option<i64>> = raw.iter().map(|score| score.map(|score| score.round() as i64)).collect();
    let scores = || rounded.iter().copied().flatten();
    let (least, most) = (scores().min().unwrap_or_default(), scores().max().unwrap_or_default());
    let points = |score: i64| if most == 0 { MOST } else { MOST * (most + least - score) / most };
    rounded.iter().map(|score| score.map(points).unwrap_or_default()).collect()
}

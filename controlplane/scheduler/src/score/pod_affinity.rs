//! InterPodAffinity: the more weight of preferred terms holds on a node, the better; the pod's own terms count, and those
//! of pods that are there already.
//!
//! No opinion where no term is about anybody.

use std::collections::HashMap;

use super::{Candidates, MOST};
use crate::node::Node;
use crate::peers::Placed;
use crate::pod::Pod;
use crate::pod_affinity::Term;
use crate::snapshot::Snapshot;

/// What a pod is worth to one that it requires near itself: upstream's `hardPodAffinityWeight`.
const REQUIRED_WEIGHT: i64 = 1;

/// Weights by label and its value.
type Weights = HashMap<String, HashMap<String, i64>>;

pub(super) fn score(pod: &Pod, candidates: &Candidates<'_>, snapshot: &Snapshot) -> Option<Vec<i64>> {
    let weights = weights(pod, snapshot);
    if weights.is_empty() {
        return None;
    }
    let of_node = |node: &Node| -> i64 {
        let domain = |key: &String| node.labels.get(key);
        weights.iter().filter_map(|(key, domains)| domains.get(domain(key)?)).sum()
    };
    let raw: Vec<i64> = candidates.iter().map(|(node, _)| of_node(node)).collect();
    let (least, most) = (raw.iter().copied().min()?, raw.iter().copied().max()?);
    let share = |score: i64| match most - least {
        0 => 0,
        // Cut off, as upstream's conversion does.
        range => (MOST as f64 * ((score - least) as f64 / range as f64)) as i64,
    };
    Some(raw.into_iter().map(share).collect())
}

fn weights(pod: &Pod, snapshot: &Snapshot) -> Weights {
    let (identity, namespaces) = (&pod.identity, snapshot.namespaces());
    let mut weights = Weights::new();
    let own = identity.affinity.preferred();
    if !own.is_empty() {
        for (other, placed) in snapshot.peers().all() {
            for (weight, term) in own.iter().filter(|(_, term)| term.is_about(other, namespaces)) {
                add(&mut weights, snapshot, *weight, term, placed);
            }
        }
    }
    for (other, placed) in snapshot.peers().with_affinity() {
        let required = other.affinity.near().iter().map(|term| (REQUIRED_WEIGHT, term));
        let preferred = other.affinity.preferred().iter().map(|(weight, term)| (*weight, term));
        for (weight, term) in
            required.chain(preferred).filter(|(_, term)| term.is_about(identity, namespaces))
        {
            add(&mut weights, snapshot, weight, term, placed);
        }
    }
    weights
}

/// The weight of a term in the domains of these pods.
fn add(weights: &mut Weights, snapshot: &Snapshot, weight: i64, term: &Term, placed: &Placed) {
    for (name, count) in placed {
        let Some((key, domain)) = snapshot.node(name).and_then(|node| term.domain(node)) else { continue };
        let more = weight.saturating_mul(count.all);
        // Most domains are known already, so their names are not copied.
        match weights.get_mut(key).and_then(|domains| domains.get_mut(domain)) {
            Some(sum) => *sum = sum.saturating_add(more),
            None => drop(weights.entry(key.to_owned()).or_default().insert(domain.to_owned(), more)),
        }
    }
}

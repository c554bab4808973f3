//! NodeAffinity: the more weight of preferred terms holds, the better.

use super::{Candidates, normalized};
use crate::pod::Pod;
use crate::snapshot::Snapshot;

pub(super) fn score(pod: &Pod, candidates: &Candidates<'_>, _: &Snapshot) -> Option<Vec<i64>> {
    let affinity = &pod.wish.affinity;
    let raw = || candidates.iter().map(|(node, _)| affinity.preference(node)).collect();
    affinity.prefers().then(|| normalized(raw(), false))
}

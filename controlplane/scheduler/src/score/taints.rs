//! TaintToleration: the fewer taints with PreferNoSchedule that the pod does not tolerate, the better.

use super::{Candidates, normalized};
use crate::pod::Pod;
use crate::snapshot::Snapshot;

pub(super) fn score(pod: &Pod, candidates: &Candidates<'_>, _: &Snapshot) -> Option<Vec<i64>> {
    let count = |taints: &[crate::taint::Taint]| {
        taints.iter().filter(|taint| !taint.repels() && !taint.is_tolerated(&pod.wish.tolerations)).count()
    };
    let raw =
        candidates.iter().map(|(node, _)| i64::try_from(count(&node.taints)).unwrap_or(i64::MAX)).collect();
    Some(normalized(raw, true))
}

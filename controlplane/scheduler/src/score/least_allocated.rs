//! NodeResourcesFit, strategy LeastAllocated: the larger the part of CPU and memory left free, the better.
//!
//! Containers that ask for nothing count with assumed amounts, so that many of them do not meet on one node.

use super::{Candidates, MOST};
use crate::pod::Pod;
use crate::snapshot::Snapshot;

pub(super) fn score(pod: &Pod, candidates: &Candidates<'_>, _: &Snapshot) -> Option<Vec<i64>> {
    let wanted = &pod.wish.requests.assumed;
    let scores = candidates.iter().map(|(node, room)| {
        let (has, used) = (&node.allocatable, room.assumed());
        let parts = [
            free(has.cpu_millis, used.cpu_millis.saturating_add(wanted.cpu_millis)),
            free(has.memory, used.memory.saturating_add(wanted.memory)),
        ];
        let known: Vec<i64> = parts.into_iter().flatten().collect();
        let count = i64::try_from(known.len()).unwrap_or(1).max(1);
        known.iter().sum::<i64>() / count
    });
    Some(scores.collect())
}

/// The free part in points; nothing where the node has none of it.
fn free(capacity: i64, taken: i64) -> Option<i64> {
    if capacity <= 0 {
        return None;
    }
    let left = i128::from(capacity.saturating_sub(taken).max(0));
    i64::try_from(left * i128::from(MOST) / i128::from(capacity)).ok()
}

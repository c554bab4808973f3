//! NodeResourcesBalancedAllocation: the nearer the used parts of CPU and memory are to each other, the better.
//!
//! No opinion on pods that ask for nothing.

use super::{Candidates, MOST};
use crate::pod::Pod;
use crate::snapshot::Snapshot;

pub(super) fn score(pod: &Pod, candidates: &Candidates<'_>, _: &Snapshot) -> Option<Vec<i64>> {
    let wanted = &pod.wish.requests.exact;
    if wanted.cpu_millis == 0 && wanted.memory == 0 {
        return None;
    }
    let scores = candidates.iter().map(|(node, room)| {
        let (has, used) = (&node.allocatable, room.requested());
        let parts = [
            part(has.cpu_millis, used.cpu_millis.saturating_add(wanted.cpu_millis)),
            part(has.memory, used.memory.saturating_add(wanted.memory)),
        ];
        let deviation = match parts {
            [Some(one), Some(other)] => (one - other).abs() / 2.0,
            _ => 0.0,
        };
        // Cut off, as upstream's conversion does.
        ((1.0 - deviation) * MOST as f64) as i64
    });
    Some(scores.collect())
}

fn part(capacity: i64, taken: i64) -> Option<f64> {
    (capacity > 0).then(|| (taken as f64 / capacity as f64).min(1.0))
}

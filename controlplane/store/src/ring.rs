//! The latest events in memory, shared by all watchers; older ones are read from the state.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use crate::record::{Event, Revision};

/// Events kept at most.
const RING_EVENTS: usize = 1 << 16;
/// Bytes of them kept at most.
const RING_BYTES: usize = 4 << 20;

#[derive(Debug, Default)]
pub(crate) struct Ring {
    events: RwLock<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    queue: VecDeque<Arc<Event>>,
    bytes: usize,
    /// The latest revision that was dropped (or that was there before this process began).
    dropped: Revision,
}

impl Ring {
    pub(crate) fn starting_after(revision: Revision) -> Ring {
        Ring { events: RwLock::new(Kept { dropped: revision, ..Kept::default() }) }
    }

    /// Begins anew where `other` begins.
    pub(crate) fn restart(&self, other: Ring) {
        let other = other.events.into_inner().unwrap_or_else(PoisonError::into_inner);
        *self.events.write().unwrap_or_else(PoisonError::into_inner) = other;
    }

    /// Adds the events of one batch, in order.
    pub(crate) fn push(&self, events: Vec<Arc<Event>>) {
        let mut kept = self.events.write().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            kept.bytes += event.weight();
            kept.queue.push_back(event);
        }
        while kept.queue.len() > RING_EVENTS || kept.bytes > RING_BYTES {
            let Some(event) = kept.queue.pop_front() else { break };
            kept.bytes -= event.weight();
            kept.dropped = event.record.modified;
        }
    }

    /// Up to `limit` events from a revision on, never half a transaction unless it alone is over the limit;
    /// `None` where the ring no longer reaches back that far.
    pub(crate) fn since(&self, from: Revision, limit: usize) -> Option<Vec<Arc<Event>>> {
        let kept = self.events.read().unwrap_or_else(PoisonError::into_inner);
        if from <= kept.dropped {
            return None;
        }
        let begin = kept.queue.partition_point(|event| event.record.modified < from);
        let mut end = (begin + limit).min(kept.queue.len());
        while end > begin
            && end < kept.queue.len()
            && revision(&kept.queue, end) == revision(&kept.queue, end - 1)
        {
            end += 1;
        }
        Some(kept.queue.range(begin..end).cloned().collect())
    }
}

fn revision(queue: &VecDeque<Arc<Event>>, at: usize) -> Revision {
    queue[at].record.modified
}

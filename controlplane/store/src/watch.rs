//! Watching: every event of a key range from a revision on, once, in order.
//!
//! A watcher holds a position, not a buffer: it reads the shared ring, and the state's history where it
//! has fallen behind the ring. Where even that was compacted it ends with an error that says so.

use std::sync::Arc;

use tokio::sync::watch;

use crate::record::{Event, KeyRange, Revision};
use crate::state::{ReadError, State};

/// Events looked at between two awaits.
const BATCH_EVENTS: usize = 1024;

/// Why a watch ended.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The history before the position is gone, or the state could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store was closed.
    #[error("the store is closing")]
    Closed,
}

/// A position in the stream of events.
#[derive(Debug)]
pub struct Watcher {
    state: Arc<State>,
    progress: watch::Receiver<Revision>,
    range: KeyRange,
    next: Revision,
}

impl Watcher {
    pub(crate) fn new(state: Arc<State>, range: KeyRange, from: Revision) -> Watcher {
        let progress = state.progress();
        Watcher { state, progress, range, next: from }
    }

    /// Waits for events of the range; gives at least one. Safe to cancel.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, WatchError> {
        loop {
            let events = self.advance().await?;
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    /// Waits until the store has moved past the position; gives the range's events in that stretch, which
    /// may be none. Afterwards [`Watcher::seen`] is the revision up to which nothing was missed.
    pub async fn advance(&mut self) -> Result<Vec<Arc<Event>>, WatchError> {
        let next = self.next;
        let reached =
            *self.progress.wait_for(|revision| *revision >= next).await.map_err(|_| WatchError::Closed)?;
        let batch = self.state.events(self.next, BATCH_EVENTS)?;
        self.next = match batch.last() {
            Some(last) => last.record.modified.next(),
            // Compaction and leases move nothing, so an empty stretch is one without events.
            None => reached.next(),
        };
        Ok(batch.into_iter().filter(|event| self.range.contains(&event.record.key)).collect())
    }

    /// The revision up to which every event was handed out.
    pub fn seen(&self) -> Revision {
        Revision(self.next.0.saturating_sub(1))
    }
}

//! The one task that brings the store's events to the caches.

use std::sync::Arc;

use store::{Event, Revision, Store, WatchError, Watcher};

use super::{Caches, everything};

/// Reads the store's events from its oldest history on.
pub(super) struct Follower {
    watcher: Watcher,
    caches: Arc<Caches>,
    /// What the snapshots were read at: events before it only fill the rings.
    snapshot_at: Revision,
}

impl Follower {
    pub(super) fn new(store: &Store, caches: Arc<Caches>, snapshot_at: Revision) -> Follower {
        let watcher = store.watch(everything(), store.state().compacted().next());
        // Where nothing is left of the history there is nothing to wait for.
        caches.progress.send_replace(store.state().compacted().min(snapshot_at));
        Follower { watcher, caches, snapshot_at }
    }

    /// Waits for the store to move, and moves the caches with it.
    pub(super) async fn step(&mut self) -> Result<(), WatchError> {
        let events = self.watcher.advance().await?;
        for cache in self.caches.kinds.values() {
            let owned: Vec<&Event> =
                events.iter().map(Arc::as_ref).filter(|event| cache.owns(&event.record.key)).collect();
            if !owned.is_empty() {
                cache.take(&owned, self.snapshot_at);
            }
        }
        self.caches.progress.send_replace(self.watcher.seen());
        Ok(())
    }

    /// Goes on until the store closes.
    pub(super) async fn run(mut self) {
        loop {
            match self.step().await {
                Ok(()) => {}
                Err(WatchError::Closed) => return,
                Err(error) => {
                    // Going on would miss changes. Lists and watches wait for the caches and time out.
                    tracing::error!(%error, "the API's caches lost the store's events; restart the API server");
                    return;
                }
            }
        }
    }
}

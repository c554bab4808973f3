//! The one task that brings the store's events to the caches.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use store::{Event, ReadError, Revision, Store, WatchError, Watcher};

use super::{CacheError, Caches, everything};

/// The two parts of a key behind `/registry/`.
fn place(key: &[u8]) -> Option<(&str, &str)> {
    let mut parts = std::str::from_utf8(key).ok()?.strip_prefix("/registry/")?.splitn(3, '/');
    Some((parts.next()?, parts.next()?))
}

/// Reads the store's events from its oldest history on.
pub(super) struct Follower {
    store: Store,
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
        Follower { store: store.clone(), watcher, caches, snapshot_at }
    }

    /// Waits for the store to move, and moves the caches with it.
    pub(super) async fn step(&mut self) -> Result<(), WatchError> {
        let events = self.watcher.advance().await?;
        // Held to the end: a cache that is added sees everything behind the revision it was filled at.
        let kinds = self.caches.kinds.read().unwrap_or_else(PoisonError::into_inner);
        let mut owned: HashMap<(&str, &str), Vec<&Event>> = HashMap::new();
        for event in &events {
            if let Some(place) = place(&event.record.key) {
                owned.entry(place).or_default().push(event);
            }
        }
        for ((first, second), events) in owned {
            // The core group has no part of its own in a key.
            let cache = kinds.get(&("", first)).or_else(|| kinds.get(&(first, second)));
            if let Some(cache) = cache {
                cache.take(&events, self.snapshot_at);
            }
        }
        self.caches.progress.send_replace(self.watcher.seen());
        Ok(())
    }

    /// The history went on without us: a member of the store that was far behind took the state of its leader over.
    fn begin_anew(&mut self) -> Result<(), CacheError> {
        let at = self.store.state().revision();
        for cache in self.caches.kinds.read().unwrap_or_else(PoisonError::into_inner).values() {
            cache.begin_anew(&self.store, at)?;
        }
        self.watcher = self.store.watch(everything(), at.next());
        self.snapshot_at = at;
        self.caches.progress.send_replace(at);
        Ok(())
    }

    /// Goes on until the store closes.
    pub(super) async fn run(mut self) {
        loop {
            match self.step().await {
                Ok(()) => {}
                Err(WatchError::Closed) => return,
                Err(WatchError::Read(ReadError::Compacted { .. })) if self.begin_anew().is_ok() => {
                    tracing::info!(
                        "the store's history was cut before the API's caches had it; they are read anew"
                    );
                }
                Err(error) => {
                    // Going on would miss changes. Lists and watches wait for the caches and time out.
                    tracing::error!(%error, "the API's caches lost the store's events; restart the API server");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use store::{Command, SingleOptions, Transaction, Urgency};

    use super::*;
    use api::kind::Registry;

    #[tokio::test]
    async fn caches_that_the_history_left_behind_are_read_anew() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_single(folder.path(), SingleOptions::default()).unwrap();
        let (caches, following) = Caches::start(&store, &Registry::builtin(), Arc::default()).await.unwrap();
        following.abort();
        let mut follower = Follower::new(&store, caches.clone(), Revision(0));
        let mut last = Revision(0);
        for value in ["1", "2", "3"] {
            let put = Transaction::put_if(b"/registry/x".to_vec(), last, value.into(), 0);
            last = store.transact(put, Urgency::Now).await.unwrap().revision;
        }
        store.command(Command::Compact(last)).await.unwrap();
        assert!(
            matches!(follower.step().await, Err(WatchError::Read(ReadError::Compacted { .. })))
                || caches.revision() >= last
        );
        follower.begin_anew().unwrap();
        assert_eq!(caches.revision(), last);
        let put = Transaction::put_if(b"/registry/x".to_vec(), last, vec![], 0);
        let next = store.transact(put, Urgency::Now).await.unwrap().revision;
        follower.step().await.unwrap();
        assert_eq!(caches.revision(), next);
    }
}

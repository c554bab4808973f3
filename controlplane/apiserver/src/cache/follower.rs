//! The one task that brings the store's events to the caches.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use store::{Event, ReadError, Revision, Store, WatchError, Watcher};

use super::{CacheError, Caches, KindCache, everything};

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
        // By cache, not by what a key begins with: of the core group's keys that has a namespace in it, and a ring is
        // in the order of revisions over all namespaces.
        let mut owned: HashMap<(&str, &str), (&KindCache, Vec<&Event>)> = HashMap::new();
        for event in &events {
            let Some((first, second)) = place(&event.record.key) else { continue };
            // The core group has no part of its own in a key.
            let found = kinds.get_key_value(&("", first)).or_else(|| kinds.get_key_value(&(first, second)));
            if let Some((place, cache)) = found {
                owned.entry(*place).or_insert_with(|| (&**cache, Vec::new())).1.push(event);
            }
        }
        for (cache, events) in owned.into_values() {
            cache.take(&events, self.snapshot_at);
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
    use crate::cache::Position;
    use crate::encryption::{Encryption, Keyring};
    use crate::envelope::{self, Place};
    use api::kind::Registry;

    #[tokio::test]
    async fn a_ring_is_in_order_over_all_namespaces() {
        const NAMESPACES: usize = 20;
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_single(folder.path(), SingleOptions::default()).unwrap();
        let (caches, following) = Caches::start(&store, &Registry::builtin(), Arc::default()).await.unwrap();
        following.abort();
        let begin = store.state().revision();
        let mut follower = Follower::new(&store, caches.clone(), begin);
        let maps = Registry::builtin().by_resource("", "v1", "configmaps").unwrap();
        for namespace in 0..NAMESPACES {
            let path = format!("/registry/configmaps/n{namespace}/a");
            let object = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "a", "namespace": format!("n{namespace}")}});
            let sealed = envelope::seal(&object, Place { path: path.as_bytes(), key: None }).unwrap();
            let put = Transaction::put_if(path.into_bytes(), Revision(0), sealed, 0);
            store.transact(put, Urgency::Now).await.unwrap();
        }
        // One batch of all of them.
        follower.step().await.unwrap();
        let cache = caches.of(maps).unwrap();
        for seen in 0..NAMESPACES {
            let after = Position(Revision(begin.0 + seen as u64));
            let changes = cache.changes(after, usize::MAX >> 1).unwrap();
            let revisions: Vec<u64> = changes.iter().map(|change| change.object.revision.0).collect();
            let wanted: Vec<u64> = (after.0.0 + 1..=begin.0 + NAMESPACES as u64).collect();
            assert_eq!(revisions, wanted);
        }
    }

    #[tokio::test]
    async fn what_another_server_encrypted_is_named_until_its_key_is_there() {
        let keyring = |names: &[&str]| {
            let secret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
            let keys: Vec<String> =
                names.iter().map(|name| format!("{{name: {name}, secret: {secret}}}")).collect();
            let text = format!(
                "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n- resources: [secrets]\n  providers: [{{aesgcm: {{keys: [{}]}}}}]\n",
                keys.join(", ")
            );
            Keyring::parse(&text).unwrap()
        };
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_single(folder.path(), SingleOptions::default()).unwrap();
        let encryption = Encryption::new(keyring(&["old"]));
        let (caches, following) =
            Caches::start(&store, &Registry::builtin(), encryption.clone()).await.unwrap();
        following.abort();
        let mut follower = Follower::new(&store, caches.clone(), store.state().revision());
        let secrets = Registry::builtin().by_resource("", "v1", "secrets").unwrap();
        let cache = caches.of(secrets).unwrap();
        let mut last = Revision(0);
        let theirs = keyring(&["new", "old"]);
        let ours = encryption.current();
        // What follows another's is shown again where it can be, and nobody who watches misses what lies between.
        for writer in [&*ours, &theirs, &*ours, &theirs] {
            let (key, before) = (writer.writer("", "secrets"), last);
            let path = b"/registry/secrets/n/a";
            let object = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "namespace": "n"}});
            let place = Place { path, key: key.map(|key| &**key) };
            let put = Transaction::put_if(path.to_vec(), last, envelope::seal(&object, place).unwrap(), 0);
            last = store.transact(put, Urgency::Now).await.unwrap().revision;
            follower.step().await.unwrap();
            let is_ours = std::ptr::eq(writer, &*ours);
            assert_eq!((cache.get("n/a").is_some(), cache.unreadable("n/a").is_none()), (is_ours, is_ours));
            assert_eq!(
                (cache.changes(Position(before), 1).is_ok(), *cache.latest().borrow()),
                (is_ours, last)
            );
        }
        assert!(cache.get("n/a").is_none(), "what it was before is not what it is");
        for why in [cache.unreadable("n/a"), cache.unreadable_in("n"), cache.unreadable_in("")] {
            assert!(why.unwrap().contains("\"aesgcm:v1:new\", a key that is not configured"));
        }
        assert_eq!(cache.unreadable_in("m"), None);
        encryption.replace(Arc::new(theirs));
        caches.open_again(&store).unwrap();
        assert_eq!((cache.get("n/a").unwrap().revision, cache.unreadable_in("")), (last, None));
    }

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

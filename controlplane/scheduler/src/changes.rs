//! What to look at again: keys whose objects have changed, each once.
//!
//! Invariant: as long as the objects that exist or have just gone at most, so a slow reader needs no more room.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use client::{Cache, Key};
use tokio::sync::Notify;

/// Keys of one cache; clones are the same set.
#[derive(Clone)]
pub struct Changes {
    keys: Arc<Mutex<BTreeSet<Key>>>,
    bell: Arc<Notify>,
}

impl Changes {
    /// Follows a cache, beginning with all that is in it, and rings at every change.
    pub fn follow(cache: &Cache, bell: Arc<Notify>) -> Changes {
        let changes = Changes { keys: Arc::default(), bell };
        let told = changes.clone();
        cache.subscribe(move |change| {
            told.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(change.key.clone());
            told.bell.notify_one();
        });
        changes
    }

    pub fn take(&self) -> BTreeSet<Key> {
        std::mem::take(&mut *self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

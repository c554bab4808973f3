//! A cache, and which of its objects have changed since somebody looked.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use client::{Cache, Change, Key};
use tokio::sync::watch;

/// At most a key for each object that there is or was.
pub struct Followed {
    pub cache: Cache,
    changed: Arc<Mutex<BTreeSet<Key>>>,
}

// === impl Followed ===

impl Followed {
    /// `tell` fires at what is worth looking at soon. The rest is seen when somebody looks.
    pub fn new(cache: Cache, tell: watch::Sender<()>, is_news: fn(Change<'_>) -> bool) -> Followed {
        let changed = Arc::<Mutex<BTreeSet<Key>>>::default();
        let noted = changed.clone();
        cache.subscribe(move |change| {
            lock(&noted).insert(change.key.clone());
            if is_news(change) {
                tell.send_replace(());
            }
        });
        Followed { cache, changed }
    }

    /// Once the first list is in these are all that changed since this was last asked, at first all there are.
    pub fn take_changed(&self) -> BTreeSet<Key> {
        std::mem::take(&mut *lock(&self.changed))
    }
}

fn lock(changed: &Mutex<BTreeSet<Key>>) -> MutexGuard<'_, BTreeSet<Key>> {
    changed.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The watch cache: per kind, the objects as of the latest revision and the changes that led there.
//!
//! ```text
//!   store ─► one follower task ─► per kind: snapshot (ordered) + ring of changes ─► lists and watches
//! ```
//!
//! **Invariants**
//! - All caches move together: `revision()` is a revision of the store up to which every kind is complete.
//! - An object's bytes are made once and shared by every list and watch.
//! - A watch holds a position, not a buffer: one that falls out of the ring is told 410, never cut silently.

mod changes;
mod follower;
mod frames;
mod kind_cache;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use api::kind::{Kind, Registry, Storage};
use store::{KeyRange, Revision, Store};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::encryption::Encryption;
use follower::Follower;

pub use changes::{Change, ChangeKind};
pub use frames::Shows;
pub use kind_cache::{KindCache, Position};

/// How long a request waits for the caches to reach a revision, as upstream's.
const FRESH_WAIT: Duration = Duration::from_secs(3);

/// What keeps the caches from being filled.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] store::ReadError),
    /// The store's events ended.
    #[error(transparent)]
    Watch(#[from] store::WatchError),
    /// An object in the store cannot be opened.
    #[error("{key}: {source}")]
    Object {
        /// Its key in the store.
        key: String,
        /// What is wrong with it.
        source: crate::envelope::EnvelopeError,
    },
}

/// The caches of all kinds.
#[derive(Debug)]
pub struct Caches {
    /// By group and resource. Whoever writes holds the follower back meanwhile.
    kinds: RwLock<HashMap<(&'static str, &'static str), Arc<KindCache>>>,
    encryption: Arc<Encryption>,
    progress: watch::Sender<Revision>,
}

impl Caches {
    /// Fills the caches of every stored kind and follows the store from there.
    pub async fn start(
        store: &Store,
        registry: &Registry,
        encryption: Arc<Encryption>,
    ) -> Result<(Arc<Caches>, JoinHandle<()>), CacheError> {
        let mut faces: HashMap<(&'static str, &'static str), Vec<&'static Kind>> = HashMap::new();
        for kind in registry.kinds() {
            if let Some(storage) = kind.storage {
                faces.entry((storage.group, storage.resource)).or_default().push(kind);
            }
        }
        // Everything is read at one revision; the follower brings what comes later.
        let at = store.state().revision();
        let mut kinds = HashMap::new();
        for (place, faces) in faces {
            let cache = KindCache::new(place, faces, encryption.clone());
            cache.fill(store, at, store.state().compacted())?;
            kinds.insert(place, Arc::new(cache));
        }
        let progress = watch::Sender::new(Revision(0));
        let caches = Arc::new(Caches { kinds: RwLock::new(kinds), encryption, progress });
        let mut follower = Follower::new(store, caches.clone(), at);
        while caches.revision() < at {
            follower.step().await?;
        }
        Ok((caches, tokio::spawn(follower.run())))
    }

    /// The cache of a kind; kinds that are not stored have none.
    pub fn of(&self, kind: &Kind) -> Option<Arc<KindCache>> {
        kind.storage.and_then(|storage| self.at(&storage))
    }

    /// The cache of a storage place.
    pub fn at(&self, storage: &Storage) -> Option<Arc<KindCache>> {
        self.named(storage.group, storage.resource)
    }

    /// The cache of a stored resource by name.
    pub fn named(&self, group: &str, resource: &str) -> Option<Arc<KindCache>> {
        self.kinds.read().unwrap_or_else(PoisonError::into_inner).get(&(group, resource)).cloned()
    }

    /// Begins to cache the objects of a place, or shows them with other faces. Complete when it returns, and from then
    /// on as new as all others.
    pub fn add(&self, store: &Store, faces: Vec<&'static Kind>) -> Result<(), CacheError> {
        let Some(storage) = faces.first().and_then(|kind| kind.storage) else { return Ok(()) };
        let mut kinds = self.kinds.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kinds.get(&(storage.group, storage.resource)) {
            return known.show_as(faces, store, self.revision());
        }
        let cache = KindCache::new((storage.group, storage.resource), faces, self.encryption.clone());
        // The follower is past everything up to here: a watch from before has to list again.
        let at = self.revision();
        cache.fill(store, at, at)?;
        kinds.insert((storage.group, storage.resource), Arc::new(cache));
        Ok(())
    }

    /// Looks again at what could not be opened before.
    pub fn open_again(&self, store: &Store) -> Result<(), CacheError> {
        // The follower waits: it is past everything up to its revision, and past nothing behind it.
        let kinds = self.kinds.write().unwrap_or_else(PoisonError::into_inner);
        let at = self.revision();
        for cache in kinds.values().filter(|cache| cache.unreadable_in("").is_some()) {
            cache.begin_anew(store, at)?;
        }
        Ok(())
    }

    /// Forgets the objects of a place; watches of it end.
    pub fn remove(&self, group: &'static str, resource: &'static str) {
        let gone = self.kinds.write().unwrap_or_else(PoisonError::into_inner).remove(&(group, resource));
        if let Some(gone) = gone {
            gone.end();
        }
    }

    /// Every place that is cached.
    pub fn places(&self) -> Vec<(&'static str, &'static str)> {
        self.kinds.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Places with objects that were not written with the key of the start.
    pub fn stale(&self) -> Vec<(&'static str, &'static str)> {
        let kinds = self.kinds.read().unwrap_or_else(PoisonError::into_inner);
        kinds.iter().filter(|(_, cache)| cache.is_stale()).map(|(place, _)| *place).collect()
    }

    /// Every kind is complete up to here.
    pub fn revision(&self) -> Revision {
        *self.progress.borrow()
    }

    /// Waits until the caches have reached a revision; gives up after a few seconds with where they are.
    pub async fn reach(&self, revision: Revision) -> Result<Revision, Revision> {
        let mut progress = self.progress.subscribe();
        match tokio::time::timeout(FRESH_WAIT, progress.wait_for(|reached| *reached >= revision)).await {
            Ok(Ok(reached)) => Ok(*reached),
            _ => Err(self.revision()),
        }
    }

    /// Follows the revision.
    pub fn progress(&self) -> watch::Receiver<Revision> {
        self.progress.subscribe()
    }
}

/// `/registry/apps/deployments/`; the core group has no part of its own.
pub fn prefix(group: &str, resource: &str) -> String {
    if group.is_empty() { format!("/registry/{resource}/") } else { format!("/registry/{group}/{resource}/") }
}

/// All keys of ours.
pub(crate) fn everything() -> KeyRange {
    KeyRange::prefix("/registry/")
}

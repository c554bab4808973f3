//! Claims, volumes and classes as the caches have them, and what is promised besides.

use std::collections::BTreeSet;
use std::sync::Arc;

use client::{Cache, Caches, Index, Key, Object, Resource};
use tokio::sync::Notify;

use crate::changes::Changes;
use crate::claims::{Lookup, class_of};
use crate::node::NodeName;
use crate::promises::Promises;

const CLASSES: Resource = Resource::fixed("storage.k8s.io", "v1", "storageclasses", "StorageClass", false);

/// The caches, and volumes by what claims look for.
pub struct Storage {
    volumes: Cache,
    pub claims: Cache,
    classes: Cache,
    index: Index,
    changes: [Changes; 3],
}

impl Storage {
    pub fn follow(caches: &Caches, bell: &Arc<Notify>) -> Storage {
        let (volumes, claims) = (caches.of(&Resource::VOLUMES), caches.of(&Resource::VOLUME_CLAIMS));
        let classes = caches.of(&CLASSES);
        let follow = |cache: &Cache| Changes::follow(cache, bell.clone());
        Storage {
            index: Index::of(&volumes, words),
            changes: [follow(&volumes), follow(&claims), follow(&classes)],
            volumes,
            claims,
            classes,
        }
    }

    pub async fn synced(&self) {
        tokio::join!(self.volumes.synced(), self.claims.synced(), self.classes.synced());
    }

    /// Whether anything is another since the last time.
    pub fn has_changed(&self) -> bool {
        // Each has to be taken.
        let taken = self.changes.each_ref().map(|changes| !changes.take().is_empty());
        taken.contains(&true)
    }
}

/// A look at everything for one decision.
pub struct Look<'a> {
    pub storage: &'a Storage,
    pub promises: &'a Promises,
}

impl Lookup for Look<'_> {
    fn claim(&self, key: &Key) -> Option<Arc<Object>> {
        self.storage.claims.get(key)
    }

    fn volume(&self, name: &str) -> Option<Arc<Object>> {
        self.storage.volumes.get(&Key::new("", name))
    }

    fn class(&self, name: &str) -> Option<Arc<Object>> {
        self.storage.classes.get(&Key::new("", name))
    }

    fn candidates(&self, claim: &Key, class: &str) -> Vec<Arc<Object>> {
        let index = &self.storage.index;
        let keys =
            index.at(&of_claim(&claim.namespace, &claim.name)).into_iter().chain(index.at(&of_class(class)));
        keys.filter_map(|key| self.storage.volumes.get(&key)).collect()
    }

    fn promised(&self, volume: &str) -> Option<Key> {
        self.promises.volume(volume)
    }

    fn chosen(&self, claim: &Key) -> Option<NodeName> {
        self.promises.node(claim)
    }
}

fn words(volume: &Object) -> BTreeSet<String> {
    let reference = &volume.value()["spec"]["claimRef"];
    let word = match (reference["namespace"].as_str(), reference["name"].as_str()) {
        (Some(namespace), Some(name)) => of_claim(namespace, name),
        _ => of_class(class_of(volume.value())),
    };
    BTreeSet::from([word])
}

fn of_claim(namespace: &str, name: &str) -> String {
    format!("claim {namespace}/{name}")
}

fn of_class(class: &str) -> String {
    format!("class {class}")
}

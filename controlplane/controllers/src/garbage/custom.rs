//! Custom kinds, which come and go with their definitions.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::{Cache, Client, Resource, Selection, WorkQueue};
use tokio::sync::Notify;

use super::feed;
use super::graph::Graph;
use crate::discovery::defined;

/// Definitions that come together are looked at together.
const TOGETHER: Duration = Duration::from_millis(100);

/// The custom kinds that are followed.
pub(super) struct Custom {
    client: Client,
    definitions: Cache,
    changed: Arc<Notify>,
    graph: Arc<Mutex<Graph>>,
    queue: WorkQueue<String>,
    /// Dropping a cache ends it.
    followed: Mutex<HashMap<Resource, Cache>>,
}

impl Custom {
    pub(super) fn new(
        client: Client,
        definitions: Cache,
        graph: Arc<Mutex<Graph>>,
        queue: WorkQueue<String>,
    ) -> Arc<Custom> {
        let changed = Arc::new(Notify::new());
        let wake = changed.clone();
        definitions.subscribe(move |_| wake.notify_one());
        Arc::new(Custom { client, definitions, changed, graph, queue, followed: Mutex::default() })
    }

    /// Follows what is served now, and what is not no more; the caches that are new.
    pub(super) fn settle(&self) -> Vec<Cache> {
        // A set: there may be a thousand of them.
        let served: HashSet<Resource> =
            self.definitions.list("").iter().filter_map(|object| defined(object.value())).collect();
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.retain(|resource, _| served.contains(resource));
        let mut new = Vec::new();
        for resource in served {
            if followed.contains_key(&resource) {
                continue;
            }
            let cache = Cache::start(self.client.clone(), resource.clone(), Selection::default());
            feed(&cache, &self.graph, &self.queue);
            new.push(cache.clone());
            followed.insert(resource, cache);
        }
        new
    }

    /// Settles whenever a definition changes.
    pub(super) async fn follow(&self) {
        loop {
            self.changed.notified().await;
            tokio::time::sleep(TOGETHER).await;
            self.settle();
        }
    }

    /// Whether a resource is followed as a custom one.
    pub(super) fn has(&self, wanted: &Resource) -> bool {
        self.find(&wanted.group, &wanted.kind).is_some()
    }

    /// The resource of a kind.
    pub(super) fn find(&self, group: &str, kind: &str) -> Option<Resource> {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.keys().find(|resource| resource.group == group && resource.kind == kind).cloned()
    }
}

//! The pods of this node by name, for those who only look: the HTTPS server.
//!
//! Each worker puts its pod here whenever it or what the runtime says of it changed. A view never changes.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use client::Key;
use serde_json::Value;
use tokio::sync::watch;

use crate::observed::Observed;
use crate::pod::Pod;

/// One pod as its worker saw it last.
#[derive(Clone, Debug)]
pub struct PodView {
    pub pod: Arc<Pod>,
    /// Sandboxes with ids and addresses; containers with ids, states and absolute log paths.
    pub observed: Arc<Observed>,
    /// `status` as last computed.
    pub status: Arc<Value>,
}

/// All pods; clones are the same directory.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    views: Arc<RwLock<BTreeMap<Key, Arc<PodView>>>>,
    changes: Arc<watch::Sender<u64>>,
}

impl Directory {
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<PodView>> {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        views.get(&Key::new(namespace, name)).cloned()
    }

    /// By namespace and name.
    pub fn all(&self) -> Vec<Arc<PodView>> {
        self.views.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub fn put(&self, view: PodView) {
        let mut views = self.views.write().unwrap_or_else(PoisonError::into_inner);
        views.insert(view.pod.key.clone(), Arc::new(view));
        drop(views);
        self.changed();
    }

    /// Counts changes of any pod, for those who wait for one.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Forgets a pod, unless another of the same name has taken its place.
    pub fn remove(&self, pod: &Pod) {
        let mut views = self.views.write().unwrap_or_else(PoisonError::into_inner);
        if views.get(&pod.key).is_some_and(|view| view.pod.uid == pod.uid) {
            views.remove(&pod.key);
        }
        drop(views);
        self.changed();
    }
}

//! Which objects of a cache have a word in common: the pods of a node, the slices of a node.
//!
//! Whoever hears of one node looks at what concerns it, not at everything there is.
//!
//! **Invariants**
//! - Its cost is that of what changes; it holds one key for each word of an object.
//! - It hears of a change before every subscriber that comes after it: make it first, subscribe then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Cache;
use crate::{Key, Object};

type Entries = BTreeMap<String, BTreeSet<Key>>;

/// The keys of a cache's objects by their words. Clones are the same index.
#[derive(Clone, Debug)]
pub struct Index {
    entries: Arc<Mutex<Entries>>,
}

impl Index {
    /// Follows a cache as long as that lives; `words` says what an object is found by.
    pub fn of(cache: &Cache, words: fn(&Object) -> BTreeSet<String>) -> Index {
        let index = Index { entries: Arc::default() };
        let kept = index.clone();
        cache.subscribe(move |change| {
            let of = |object: Option<&Arc<Object>>| object.map(|object| words(object)).unwrap_or_default();
            kept.change(change.key, &of(change.before), &of(change.after));
        });
        index
    }

    /// The keys of the objects that have this word.
    pub fn at(&self, word: &str) -> Vec<Key> {
        self.entries().get(word).into_iter().flatten().cloned().collect()
    }

    fn change(&self, key: &Key, before: &BTreeSet<String>, after: &BTreeSet<String>) {
        if before == after {
            return;
        }
        let mut entries = self.entries();
        for word in before.difference(after) {
            if let Some(keys) = entries.get_mut(word) {
                keys.remove(key);
                if keys.is_empty() {
                    entries.remove(word);
                }
            }
        }
        for word in after.difference(before) {
            entries.entry(word.clone()).or_default().insert(key.clone());
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;
    use crate::{Client, Config, Resource, Surroundings};

    static READ: AtomicUsize = AtomicUsize::new(0);

    fn node(pod: &Object) -> BTreeSet<String> {
        READ.fetch_add(1, Ordering::Relaxed);
        pod.value()["spec"]["nodeName"].as_str().map(str::to_owned).into_iter().collect()
    }

    fn pod(name: &str, node: &str) -> Object {
        let mut pod = json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"nodeName": node}});
        if node.is_empty() {
            pod["spec"] = json!({});
        }
        Object::of(&Resource::PODS, pod)
    }

    #[tokio::test]
    async fn what_changes_is_found_and_the_rest_is_not_read() {
        let config = Config::of_server("https://127.0.0.1:1", Vec::new()).unwrap();
        let client = Client::new(config, "test", Surroundings::system()).unwrap();
        let objects: Vec<Object> = (0..1000).map(|at| pod(&format!("p{at}"), "far")).collect();
        let cache = Cache::fixed(client, Resource::PODS, objects);
        let index = Index::of(&cache, node);
        assert_eq!((index.at("far").len(), index.at("near").len()), (1000, 0));
        let read = READ.load(Ordering::Relaxed);
        let set = |name: &str, at: Option<&str>| {
            let after = at.map(|node| Arc::new(pod(name, node)));
            cache.held.inner.apply(&Key::new("n", name), after);
        };
        set("p1", Some("near"));
        assert_eq!(index.at("near"), [Key::new("n", "p1")]);
        assert_eq!(index.at("far").len(), 999);
        set("p1", Some(""));
        set("new", Some("near"));
        set("new", None);
        set("p2", None);
        assert_eq!((index.at("far").len(), index.at("near").len()), (998, 0));
        assert!(!index.entries().contains_key("near"), "nothing is left of a word that nobody has");
        assert!(READ.load(Ordering::Relaxed) - read <= 10, "a change is read, not everything");
    }
}

//! What exists, by id: sandboxes and containers, found by a full id or an unambiguous prefix.
//!
//! The index only finds; every object has an owner of its own, and nothing is done under this lock.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Objects by id.
pub struct Index<T> {
    entries: RwLock<BTreeMap<String, Arc<T>>>,
}

/// What a name finds.
#[derive(Debug)]
pub enum Found<T> {
    One(Arc<T>),
    None,
    /// Several ids begin like this.
    Several,
}

impl<T> Default for Index<T> {
    fn default() -> Index<T> {
        Index { entries: RwLock::default() }
    }
}

impl<T> Index<T> {
    pub fn insert(&self, id: &str, entry: Arc<T>) {
        self.write().insert(id.to_owned(), entry);
    }

    pub fn remove(&self, id: &str) -> Option<Arc<T>> {
        self.write().remove(id)
    }

    /// By full id, or by the beginning of exactly one.
    pub fn find(&self, name: &str) -> Found<T> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        if name.is_empty() {
            return Found::None;
        }
        if let Some(entry) = entries.get(name) {
            return Found::One(entry.clone());
        }
        let mut matching = entries.range(name.to_owned()..).take_while(|(id, _)| id.starts_with(name));
        match (matching.next(), matching.next()) {
            (Some((_, entry)), None) => Found::One(entry.clone()),
            (None, _) => Found::None,
            _ => Found::Several,
        }
    }

    /// Everything, by id.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Arc<T>>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_find_one_or_say_so() {
        let index = Index::default();
        for id in ["aa1", "aa2", "b"] {
            index.insert(id, Arc::new(id));
        }
        let check = |name: &str, expect: Option<&str>| {
            let found = match index.find(name) {
                Found::One(entry) => Some(*entry),
                _ => None,
            };
            assert_eq!(found, expect, "{name}");
        };
        check("aa1", Some("aa1"));
        check("b", Some("b"));
        check("a", None);
        check("", None);
        check("c", None);
        assert!(matches!(index.find("aa"), Found::Several));
    }
}

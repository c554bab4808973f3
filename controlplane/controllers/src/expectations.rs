//! Creations and deletions that were done and are not in the cache yet.
//!
//! A controller that counts objects must not count again before it sees its own last work, or it does it twice.
//! What is not seen in five minutes is not expected any more: the cache is then as true as it gets.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client::{Change, Key, Object};
use tokio::time::Instant;

use crate::fields::is_deleting;

/// Upstream's.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Default)]
pub(crate) struct Expectations {
    known: Mutex<HashMap<Key, Expected>>,
}

struct Expected {
    creations: usize,
    /// UIDs.
    deletions: HashSet<String>,
    since: Instant,
}

impl Expectations {
    /// Nothing is outstanding for the key.
    pub(crate) fn satisfied(&self, key: &Key) -> bool {
        self.known().get(key).is_none_or(|expected| {
            (expected.creations == 0 && expected.deletions.is_empty()) || expected.since.elapsed() > PATIENCE
        })
    }

    /// Before creating: that many will come.
    pub(crate) fn creating(&self, key: &Key, count: usize) {
        self.change(key, |expected| expected.creations += count);
    }

    /// Before deleting: these will go.
    pub(crate) fn deleting(&self, key: &Key, uid: &str) {
        self.change(key, |expected| {
            expected.deletions.insert(uid.to_owned());
        });
    }

    /// One came, or will not come.
    pub(crate) fn created(&self, key: &Key) {
        if let Some(expected) = self.known().get_mut(key) {
            expected.creations = expected.creations.saturating_sub(1);
        }
    }

    /// One went, or will not go.
    pub(crate) fn deleted(&self, key: &Key, uid: &str) {
        if let Some(expected) = self.known().get_mut(key) {
            expected.deletions.remove(uid);
        }
    }

    /// What came and went with a change of an owned object; gives its owner before and after.
    pub(crate) fn observe(
        &self,
        change: &Change<'_>,
        owner: impl Fn(&Arc<Object>) -> Option<Key>,
    ) -> (Option<Key>, Option<Key>) {
        let (before, after) = (change.before.and_then(&owner), change.after.and_then(&owner));
        if let (Some(key), Some(old)) = (&before, change.before)
            && change.after.is_none_or(|object| is_deleting(object.value()))
        {
            self.deleted(key, &old.uid);
        }
        if let (Some(key), Some(new)) = (&after, change.after) {
            if change.before.is_none() {
                self.created(key);
            }
            if is_deleting(new.value()) {
                self.deleted(key, &new.uid);
            }
        }
        (before, after)
    }

    /// The key is gone.
    pub(crate) fn forget(&self, key: &Key) {
        self.known().remove(key);
    }

    fn change(&self, key: &Key, change: impl FnOnce(&mut Expected)) {
        let mut known = self.known();
        let fresh = || Expected { creations: 0, deletions: HashSet::new(), since: Instant::now() };
        let expected = known.entry(key.clone()).or_insert_with(fresh);
        if expected.since.elapsed() > PATIENCE || (expected.creations == 0 && expected.deletions.is_empty()) {
            *expected = fresh();
        }
        change(expected);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Key, Expected>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outstanding_holds_back() {
        let (expectations, key) = (Expectations::default(), Key::new("n", "a"));
        assert!(expectations.satisfied(&key));
        expectations.creating(&key, 2);
        expectations.deleting(&key, "u");
        for uid in [None, None, Some("u")] {
            assert!(!expectations.satisfied(&key));
            match uid {
                None => expectations.created(&key),
                Some(uid) => expectations.deleted(&key, uid),
            }
        }
        assert!(expectations.satisfied(&key));
        expectations.created(&key);
        assert!(expectations.satisfied(&key), "somebody else's creation is not owed");
    }
}

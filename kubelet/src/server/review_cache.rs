//! Answers of the API that are remembered for a short time, and never too many of them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The most answers that are remembered.
const MOST: usize = 1024;

/// Values that are good until a time.
#[derive(Debug)]
pub(super) struct ReviewCache<K, V> {
    entries: Mutex<HashMap<K, (Instant, V)>>,
}

impl<K: Hash + Eq, V: Clone> ReviewCache<K, V> {
    pub(super) fn new() -> ReviewCache<K, V> {
        ReviewCache { entries: Mutex::default() }
    }

    pub(super) fn get(&self, key: &K, now: Instant) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(key).filter(|(until, _)| now < *until).map(|(_, value)| value.clone())
    }

    /// Remembers; where there is no room left even without what is over, forgets everything.
    pub(super) fn put(&self, key: K, value: V, now: Instant, fresh: Duration) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MOST {
            entries.retain(|_, (until, _)| now < *until);
        }
        if entries.len() >= MOST {
            entries.clear();
        }
        entries.insert(key, (now + fresh, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_age_and_do_not_pile_up() {
        let cache = ReviewCache::new();
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        cache.put(0, true, now, second);
        assert_eq!(cache.get(&0, now), Some(true));
        assert_eq!(cache.get(&0, now + second), None);
        assert_eq!(cache.get(&1, now), None);
        for key in 0..10 * MOST {
            cache.put(key, true, now, second);
            assert!(cache.entries.lock().unwrap().len() <= MOST);
        }
    }
}

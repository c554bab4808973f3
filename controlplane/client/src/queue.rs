//! Keys that wait for work: each at most once, none worked on twice at a time, failures later and later.
//!
//! Not a channel: adding a key that waits changes nothing, adding one that is being worked on lets it wait until
//! that is done. So its length is bounded by the number of distinct keys.
//!
//! Reference: client-go's `workqueue`, whose default rate limiter this is (5 ms doubling to 1000 s).

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::backoff::exponential;

const FIRST_WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_secs(1000);
/// No key waits longer for a time of its own.
const LONGEST_AFTER: Duration = Duration::from_secs(30 * 86_400);

/// The queue; clones are the same one.
pub struct WorkQueue<K> {
    inner: Arc<Inner<K>>,
}

impl<K> Clone for WorkQueue<K> {
    fn clone(&self) -> Self {
        WorkQueue { inner: self.inner.clone() }
    }
}

struct Inner<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

struct State<K> {
    ready: VecDeque<K>,
    /// Ready, or to be ready once their work is done.
    dirty: HashSet<K>,
    /// Being worked on.
    busy: HashSet<K>,
    later: BTreeMap<(Instant, u64), K>,
    /// When a key of `later` is due; a key waits there once, for the earliest time asked.
    due: HashMap<K, (Instant, u64)>,
    failures: HashMap<K, u32>,
    sequence: u64,
    closed: bool,
}

impl<K: Clone + Eq + Hash> Default for WorkQueue<K> {
    fn default() -> Self {
        WorkQueue::new()
    }
}

impl<K: Clone + Eq + Hash> WorkQueue<K> {
    pub fn new() -> WorkQueue<K> {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            busy: HashSet::new(),
            later: BTreeMap::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
            sequence: 0,
            closed: false,
        };
        WorkQueue { inner: Arc::new(Inner { state: Mutex::new(state), changed: Notify::new() }) }
    }

    /// The key wants to be looked at.
    pub fn add(&self, key: K) {
        self.state().add(key);
        self.inner.changed.notify_one();
    }

    /// The key wants to be looked at after a while, which may be sooner than a very long one: objects say how long, and what
    /// they say may be beyond the clock.
    pub fn add_after(&self, key: K, wait: Duration) {
        if wait.is_zero() {
            return self.add(key);
        }
        self.state().add_at(key, Instant::now() + wait.min(LONGEST_AFTER));
        self.inner.changed.notify_one();
    }

    /// The key's work failed: again after its back-off.
    pub fn add_failed(&self, key: K) -> Duration {
        let mut state = self.state();
        let failures = state.failures.entry(key.clone()).or_default();
        let wait = exponential(FIRST_WAIT, LONGEST_WAIT, *failures);
        *failures = failures.saturating_add(1);
        state.add_at(key, Instant::now() + wait);
        drop(state);
        self.inner.changed.notify_one();
        wait
    }

    /// The key's work succeeded: its back-off begins anew.
    pub fn forget(&self, key: &K) {
        self.state().failures.remove(key);
    }

    pub fn failures(&self, key: &K) -> u32 {
        self.state().failures.get(key).copied().unwrap_or(0)
    }

    /// The next key; call [`WorkQueue::done`] with it afterwards. `None` once the queue is closed.
    pub async fn next(&self) -> Option<K> {
        loop {
            let changed = self.inner.changed.notified();
            let wake = {
                let mut state = self.state();
                if state.closed {
                    return None;
                }
                let wake = state.promote(Instant::now());
                if let Some(key) = state.take() {
                    let more = !state.ready.is_empty() || wake.is_some();
                    drop(state);
                    if more {
                        // Somebody else must wake for the rest, and for what is due later.
                        self.inner.changed.notify_one();
                    }
                    return Some(key);
                }
                wake
            };
            match wake {
                Some(at) => tokio::select! { () = changed => {}, () = sleep_until(at) => {} },
                None => changed.await,
            }
        }
    }

    /// The key's work is over, well or not.
    pub fn done(&self, key: &K) {
        let mut state = self.state();
        state.busy.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
        }
        drop(state);
        self.inner.changed.notify_one();
    }

    /// Keys ready now.
    pub fn len(&self) -> usize {
        self.state().ready.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends all waits for keys.
    pub fn close(&self) {
        self.state().closed = true;
        // One takes a permit, the others wake; whoever comes later sees `closed`.
        self.inner.changed.notify_one();
        self.inner.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn add(&mut self, key: K) {
        if self.closed || !self.dirty.insert(key.clone()) {
            return;
        }
        if !self.busy.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn add_at(&mut self, key: K, at: Instant) {
        if let Some(known) = self.due.get(&key).copied() {
            if known.0 <= at {
                return;
            }
            self.later.remove(&known);
        }
        self.sequence += 1;
        let place = (at, self.sequence);
        self.due.insert(key.clone(), place);
        self.later.insert(place, key);
    }

    /// Makes ready what is due; when the next is.
    fn promote(&mut self, now: Instant) -> Option<Instant> {
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > now {
                return Some(entry.key().0);
            }
            let key = entry.remove();
            self.due.remove(&key);
            self.add(key);
        }
        None
    }

    fn take(&mut self) -> Option<K> {
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.busy.insert(key.clone());
        Some(key)
    }
}

/// What came of a key's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to do until something changes.
    Done,
    /// Look again after a while even if nothing changes.
    After(Duration),
    /// As a failure, but nothing worth a word: a conflict, a cache that is behind.
    Again,
}

/// Works on keys until the queue is closed, `workers` at a time. A failure is logged and tried again later.
pub async fn work<K, F, R, E>(name: &'static str, queue: WorkQueue<K>, workers: usize, reconcile: F)
where
    K: Clone + Eq + Hash + Display + Send + Sync + 'static,
    F: Fn(K) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Outcome, E>> + Send,
    E: Display,
{
    let reconcile = Arc::new(reconcile);
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let (queue, reconcile) = (queue.clone(), reconcile.clone());
        tasks.spawn(async move {
            while let Some(key) = queue.next().await {
                match reconcile(key.clone()).await {
                    Ok(Outcome::Done) => queue.forget(&key),
                    Ok(Outcome::After(wait)) => {
                        queue.forget(&key);
                        queue.add_after(key.clone(), wait);
                    }
                    Ok(Outcome::Again) => {
                        queue.add_failed(key.clone());
                    }
                    Err(error) => {
                        let wait = queue.add_failed(key.clone());
                        tracing::warn!(controller = name, %key, %error, wait = ?wait, "trying again");
                    }
                }
                queue.done(&key);
            }
        });
    }
    // A worker that panics takes the part down: its supervisor starts it anew from what is observed.
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_is_worked_on_by_one() {
        let queue = WorkQueue::new();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!((queue.len(), queue.next().await), (2, Some("a")));
        queue.add("a");
        assert_eq!(queue.len(), 1, "a is being worked on");
        assert_eq!(queue.next().await, Some("b"));
        queue.done(&"a");
        assert_eq!(queue.next().await, Some("a"));
        queue.done(&"a");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_and_longer() {
        let queue = WorkQueue::new();
        let begun = Instant::now();
        for (total, failures) in [(5, 1), (15, 2), (35, 3)] {
            queue.add_failed("a");
            assert_eq!(queue.next().await, Some("a"));
            queue.done(&"a");
            assert_eq!((begun.elapsed().as_millis(), queue.failures(&"a")), (total, failures));
        }
        queue.forget(&"a");
        assert_eq!(queue.add_failed("a"), FIRST_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_time_counts() {
        let queue = WorkQueue::new();
        let begun = Instant::now();
        queue.add_after("a", Duration::from_secs(9));
        queue.add_after("a", Duration::from_secs(2));
        queue.add_after("a", Duration::from_secs(5));
        assert_eq!(queue.next().await, Some("a"));
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
        queue.done(&"a");
        assert!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.is_err(), "no second time");
    }

    #[tokio::test(start_paused = true)]
    async fn no_wait_is_too_long_for_the_clock() {
        let queue = WorkQueue::new();
        let begun = Instant::now();
        queue.add_after("a", Duration::MAX);
        assert_eq!(queue.next().await, Some("a"));
        assert_eq!(begun.elapsed(), LONGEST_AFTER);
    }

    #[tokio::test]
    async fn closing_ends_all_workers() {
        let queue: WorkQueue<String> = WorkQueue::new();
        let closing = queue.clone();
        let working = tokio::spawn(work("test", queue, 3, |_| async { Ok::<_, String>(Outcome::Done) }));
        closing.add("a".into());
        closing.close();
        tokio::time::timeout(Duration::from_secs(60), working).await.expect("workers end").expect("no panic");
    }
}

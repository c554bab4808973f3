//! What the store needs from time to time: its history cut, and leases that are over ended.
//!
//! ```text
//!   every interval: compact to the revision of one interval ago
//!   at the next lease's deadline: revoke what is due
//! ```
//!
//! The store reads no clock, so this does. It sleeps until something is due; a new lease wakes it.
//!
//! **Invariant**: a revision is readable for at least one interval after it was the latest.

use std::sync::Arc;
use std::time::Duration;

use store::{Command, ProposeError, ReadError, Revision, Store};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::server::Clock;

/// After a failure, such as a full disk.
const RETRY: Duration = Duration::from_secs(10);

/// The task that does it; ended with its owner.
#[derive(Debug)]
pub struct Housekeeper {
    look: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Housekeeper {
    /// Begins.
    pub fn start(store: Store, clock: Clock, interval: Duration) -> Housekeeper {
        let work = Work::new(store, clock, interval);
        Housekeeper { look: work.look.clone(), task: tokio::spawn(work.run()) }
    }

    /// There is a new lease.
    pub fn look(&self) {
        self.look.notify_one();
    }
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug, thiserror::Error)]
enum HousekeepingError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

struct Work {
    store: Store,
    clock: Clock,
    interval: Duration,
    look: Arc<Notify>,
    /// The latest revision when the interval began: what is compacted at its end.
    mark: Revision,
    /// When the interval ends.
    next: Instant,
}

impl Work {
    /// The first interval begins.
    fn new(store: Store, clock: Clock, interval: Duration) -> Work {
        let (mark, next) = (store.state().revision(), Instant::now() + interval);
        Work { store, clock, interval, look: Arc::default(), mark, next }
    }

    async fn run(mut self) {
        loop {
            let wake = match self.round().await {
                // The wall clock may jump; the end of the interval looks again.
                Ok(Some(lease)) => self.next.min(Instant::now() + lease),
                Ok(None) => self.next,
                Err(HousekeepingError::Propose(ProposeError::Closed)) => return,
                Err(error) => {
                    tracing::warn!(%error, "the store's housekeeping failed; it is tried again");
                    Instant::now() + RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep_until(wake) => {}
                () = self.look.notified() => {}
            }
        }
    }

    /// Does what is due; how long until the next lease ends.
    async fn round(&mut self) -> Result<Option<Duration>, HousekeepingError> {
        if Instant::now() >= self.next {
            if self.mark > self.store.state().compacted() {
                self.store.command(Command::Compact(self.mark)).await?;
                tracing::debug!(revision = self.mark.0, "the store's history is compacted");
            }
            self.mark = self.store.state().revision();
            self.next = Instant::now() + self.interval;
        }
        let now = self.now_millis();
        let (due, next) = self.store.state().leases_due(now)?;
        for lease in due {
            match self.store.command(Command::LeaseRevoke(lease)).await {
                // Refused: it is gone already.
                Ok(_) | Err(ProposeError::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(next.map(|deadline| Duration::from_millis(deadline.saturating_sub(now))))
    }

    fn now_millis(&self) -> u64 {
        (self.clock)().as_millisecond().max(0).unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::{SingleOptions, Transaction, Urgency};

    async fn put(store: &Store, key: &str, expected: Revision, lease: u64) -> Revision {
        let put = Transaction::put_if(key.into(), expected, b"x".to_vec(), lease);
        let reply = store.transact(put, Urgency::Now).await.unwrap();
        assert!(reply.succeeded);
        reply.revision
    }

    fn open() -> (tempfile::TempDir, Store, Clock) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_single(folder.path(), SingleOptions::default()).unwrap();
        (folder, store, Arc::new(jiff::Timestamp::now))
    }

    #[tokio::test]
    async fn history_is_cut_one_interval_behind() {
        let (_folder, store, clock) = open();
        let first = put(&store, "a", Revision(0), 0).await;
        let mut work = Work::new(store.clone(), clock, Duration::from_secs(300));
        let second = put(&store, "a", first, 0).await;
        work.round().await.unwrap();
        assert_eq!(store.state().compacted(), Revision(0), "the interval is not over");
        work.next = Instant::now();
        work.round().await.unwrap();
        assert_eq!(store.state().compacted(), first, "what was written in the interval stays");
        work.next = Instant::now();
        work.round().await.unwrap();
        assert_eq!(store.state().compacted(), second);
        assert_eq!(store.state().revision(), second, "compaction writes no revision");
    }

    #[tokio::test]
    async fn a_lease_ends_at_its_deadline_with_its_keys() {
        let (_folder, store, clock) = open();
        let housekeeper = Housekeeper::start(store.clone(), clock.clone(), Duration::from_secs(300));
        let now_millis = clock().as_millisecond().unsigned_abs();
        store.command(Command::LeaseGrant { id: 7, ttl_seconds: 1, now_millis }).await.unwrap();
        let written = put(&store, "a", Revision(0), 7).await;
        housekeeper.look();
        let mut watcher = store.watch(store::KeyRange::prefix("a"), written.next());
        let events =
            tokio::time::timeout(Duration::from_secs(120), watcher.advance()).await.unwrap().unwrap();
        assert_eq!(events.len(), 1);
        assert!(clock().as_millisecond().unsigned_abs() >= now_millis + 1000, "not before its time");
        assert!(store.state().get(b"a").unwrap().1.is_none());
    }
}

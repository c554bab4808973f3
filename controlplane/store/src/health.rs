//! How the disk does: measured, never a reason to exit.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// A sync slower than this is worth a sentence in the log.
pub(crate) const SLOW_SYNC: Duration = Duration::from_millis(500);

/// Figures of the log since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Syncs done.
    pub syncs: u64,
    /// Commands made durable.
    pub entries: u64,
    /// The latest sync.
    pub last_sync: Duration,
    /// The slowest sync.
    pub slowest_sync: Duration,
    /// Writes are refused: the log failed.
    pub failed: bool,
    /// Writes are refused: there is no space for the log.
    pub full: bool,
}

/// The counters behind [`Health`].
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    syncs: AtomicU64,
    entries: AtomicU64,
    last_micros: AtomicU64,
    slowest_micros: AtomicU64,
    failed: AtomicBool,
    /// Why the log cannot be written now.
    full: Mutex<Option<String>>,
    /// The disk has become full.
    pub(crate) filled: Notify,
}

impl Gauge {
    /// Whether the log has space; told at every change.
    pub(crate) fn full(&self, reason: Option<String>) {
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*full, &reason) {
            (None, Some(error)) => {
                tracing::error!(
                    error,
                    "the store's disk is full: nothing is written to it until there is space"
                );
                self.filled.notify_one();
            }
            (Some(_), None) => tracing::info!("the store's disk has space again"),
            _ => return,
        }
        *full = reason;
    }

    /// Why there is no space, where there is none.
    pub(crate) fn why_full(&self) -> Option<String> {
        self.full.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn synced(&self, entries: usize, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.entries.fetch_add(entries as u64, Ordering::Relaxed);
        self.last_micros.store(micros, Ordering::Relaxed);
        self.slowest_micros.fetch_max(micros, Ordering::Relaxed);
        if took > SLOW_SYNC {
            tracing::warn!(
                millis = micros / 1000,
                entries,
                "slow disk: the store waited for its log to be synced"
            );
        }
    }

    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Health {
        Health {
            syncs: self.syncs.load(Ordering::Relaxed),
            entries: self.entries.load(Ordering::Relaxed),
            last_sync: Duration::from_micros(self.last_micros.load(Ordering::Relaxed)),
            slowest_sync: Duration::from_micros(self.slowest_micros.load(Ordering::Relaxed)),
            failed: self.failed.load(Ordering::Relaxed),
            full: self.why_full().is_some(),
        }
    }
}

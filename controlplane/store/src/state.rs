//! The state machine: keys, history and leases in one redb file.
//!
//! ```text
//! current     key                -> modified, created, version, lease, value
//! history     (revision, sub)    -> kind, key, the record after, the record before
//! leases      id                 -> seconds to live, deadline
//! lease_keys  (id, key)          -> ()
//! meta        name               -> format, revision, compacted, applied
//! ```
//!
//! An entry of the history holds the key before and after the change, so a read at an older revision
//! needs only the first change of each key behind that revision, and compaction is dropping a stretch.
//!
//! **Invariants**
//! - One writer (the consensus' apply thread); readers see whole batches.
//! - Commits are not synced: the log is the truth until `flush`.
//! - `applied` and the changes it stands for are in one commit.

mod apply;
mod encoding;
mod read;
mod tables;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{Database, Durability};
use tokio::sync::watch;

use crate::command::{Command, Reply};
use crate::record::{Event, Revision};
use crate::ring::Ring;

pub use read::{Page, RangeRequest, ReadError};

/// The format of the database that this code writes.
const FORMAT: u64 = 1;
/// Memory for database pages.
const CACHE_BYTES: usize = 16 << 20;

/// What keeps the state from being opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The database said no.
    #[error("the store's state {}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },
    /// Written by a newer Keelson.
    #[error("{} has state format {found}; this Keelson reads up to {FORMAT}: run the newer one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// A log entry that this version cannot read.
    #[error("log entry {index} cannot be decoded: {reason}; it was written by a newer Keelson, run that one")]
    UnknownCommand {
        /// Its index.
        index: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// The state; shared by the apply thread and all readers.
#[derive(Debug)]
pub struct State {
    database: Database,
    path: PathBuf,
    ring: Ring,
    progress: watch::Sender<Revision>,
    compacted: AtomicU64,
    applied: AtomicU64,
}

impl State {
    /// Opens or creates the database file.
    pub fn open(path: &Path) -> Result<State, StateError> {
        let failed =
            |source: redb::Error| StateError::Database { path: path.to_owned(), source: Box::new(source) };
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(path)
            .map_err(|error| failed(error.into()))?;
        let meta = tables::initialise(&database).map_err(failed)?;
        if meta.format > FORMAT {
            return Err(StateError::Newer { path: path.to_owned(), found: meta.format });
        }
        Ok(State {
            database,
            path: path.to_owned(),
            ring: Ring::starting_after(meta.revision),
            progress: watch::Sender::new(meta.revision),
            compacted: AtomicU64::new(meta.compacted.0),
            applied: AtomicU64::new(meta.applied),
        })
    }

    /// The revision of the latest write.
    pub fn revision(&self) -> Revision {
        *self.progress.borrow()
    }

    /// History up to and including this revision is gone.
    pub fn compacted(&self) -> Revision {
        Revision(self.compacted.load(Ordering::Acquire))
    }

    /// The index of the last log entry that was applied.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Follows the revision.
    pub fn progress(&self) -> watch::Receiver<Revision> {
        self.progress.subscribe()
    }

    /// Applies log entries in order, visible to readers all at once.
    pub fn apply(&self, entries: &[(u64, Command)]) -> Result<Vec<Reply>, StateError> {
        let Some((last, _)) = entries.last() else { return Ok(Vec::new()) };
        let outcome = apply::apply(&self.database, entries).map_err(|source| self.failed(source))?;
        self.applied.store(*last, Ordering::Release);
        self.compacted.store(outcome.compacted.0, Ordering::Release);
        self.ring.push(outcome.events);
        self.progress
            .send_if_modified(|revision| std::mem::replace(revision, outcome.revision) != outcome.revision);
        Ok(outcome.replies)
    }

    /// Puts all that was applied on disk; the log up to the returned index is not needed any more.
    pub fn flush(&self) -> Result<u64, StateError> {
        let applied = self.applied();
        tables::commit(&self.database, Durability::Immediate).map_err(|source| self.failed(source))?;
        Ok(applied)
    }

    /// Events from a revision on, from memory where they are still there.
    pub(crate) fn events(&self, from: Revision, limit: usize) -> Result<Vec<Arc<Event>>, ReadError> {
        match self.ring.since(from, limit) {
            Some(events) => Ok(events),
            None => read::events(&self.database, from, limit),
        }
    }

    fn failed(&self, source: redb::Error) -> StateError {
        StateError::Database { path: self.path.clone(), source: Box::new(source) }
    }
}

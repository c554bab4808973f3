//! The state machine: keys, history and leases in one redb file.
//!
//! ```text
//! current     key                -> modified, created, version, lease, value
//! history     (revision, sub)    -> kind, key, the record after, the record before
//! leases      id                 -> seconds to live, deadline
//! lease_keys  (id, key)          -> ()
//! meta        name               -> format, revision, compacted, applied; term and leader with Raft
//! raft        name               -> membership
//! ```
//!
//! An entry of the history holds the key before and after the change, so a read at an older revision
//! needs only the first change of each key behind that revision, and compaction is dropping a stretch.
//!
//! **Invariants**
//! - One writer (the consensus' apply thread); readers see whole batches, and every one that was applied (`writer`).
//! - Commits are not synced: the log is the truth until `flush`.
//! - `applied` and the changes it stands for are in one commit.

mod apply;
mod dump;
mod encoding;
mod load;
mod read;
mod tables;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redb::Database;
use tokio::sync::watch;

use crate::command::{Command, Reply};
use crate::record::{Event, Revision};
use crate::ring::Ring;

pub(crate) use dump::{Dump, Header, Part};
pub(crate) use load::LoadError;
pub use read::{Page, RangeRequest, ReadError};
use writer::Writer;

/// The newest format of the database that this code knows. 1: a store of one member; 2: a member of a cluster.
const FORMAT: u64 = 2;
/// The format of a store of one member.
const ALONE: u64 = 1;
/// How long the apply threads wait for more before they commit: then nobody who reads has to.
const COMMIT_IDLE: Duration = Duration::from_millis(50);
/// Memory for database pages.
const CACHE_BYTES: usize = 12 << 20;

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

/// A place in a Raft log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Place {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) leader: u64,
}

/// What a batch moves besides keys, with Raft.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The batch's last entry.
    pub(crate) place: Option<Place>,
    /// The membership in it, encoded.
    pub(crate) membership: Option<Vec<u8>>,
}

/// The state; shared by the apply thread and all readers.
#[derive(Debug)]
pub struct State {
    /// Before the database: its transaction ends first.
    writer: Mutex<Writer>,
    /// The writer's, to be asked without its lock: a read waits for no sync where it need not.
    ahead: AtomicBool,
    database: Database,
    path: PathBuf,
    ring: Ring,
    progress: watch::Sender<Revision>,
    compacted: AtomicU64,
    applied: watch::Sender<u64>,
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
            writer: Mutex::new(Writer::new(meta)),
            ahead: AtomicBool::new(false),
            database,
            path: path.to_owned(),
            ring: Ring::starting_after(meta.revision),
            progress: watch::Sender::new(meta.revision),
            compacted: AtomicU64::new(meta.compacted.0),
            applied: watch::Sender::new(meta.applied),
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
        *self.applied.borrow()
    }

    /// Follows the index of the last log entry that was applied.
    pub(crate) fn applied_progress(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Follows the revision.
    pub fn progress(&self) -> watch::Receiver<Revision> {
        self.progress.subscribe()
    }

    /// Applies log entries in order, visible to readers all at once.
    pub fn apply(&self, entries: &[(u64, Command)]) -> Result<Vec<Reply>, StateError> {
        let Some((last, _)) = entries.last() else { return Ok(Vec::new()) };
        self.advance(entries, &Progress::default(), *last)
    }

    /// The same for entries of a Raft log, some of which carry no command.
    pub(crate) fn apply_at(
        &self,
        entries: &[(u64, Command)],
        progress: &Progress,
    ) -> Result<Vec<Reply>, StateError> {
        let Some(place) = progress.place else { return Ok(Vec::new()) };
        self.advance(entries, progress, place.index)
    }

    fn advance(
        &self,
        entries: &[(u64, Command)],
        progress: &Progress,
        last: u64,
    ) -> Result<Vec<Reply>, StateError> {
        let mut writer = self.writer();
        if entries.iter().any(|(_, command)| matches!(command, Command::Compact(_))) {
            // It takes its time, and reads need not wait for it where nothing is ahead.
            self.commit_open(&mut writer).map_err(|source| self.failed(source))?;
        }
        let outcome =
            writer.apply(&self.database, entries, progress).map_err(|source| self.failed(source))?;
        // Before anybody is told: who reads next asks it.
        self.ahead.store(writer.is_ahead(), Ordering::Release);
        drop(writer);
        self.compacted.store(outcome.compacted.0, Ordering::Release);
        self.ring.push(outcome.events);
        self.progress
            .send_if_modified(|revision| std::mem::replace(revision, outcome.revision) != outcome.revision);
        // Last: who waits for an entry reads the revision next.
        self.applied.send_replace(last);
        Ok(outcome.replies)
    }

    /// Puts all that was applied on disk; the log up to the returned index is not needed any more.
    pub fn flush(&self) -> Result<u64, StateError> {
        let mut writer = self.writer();
        self.commit_open(&mut writer)
            .and_then(|()| tables::commit_synced(&self.database, writer.meta, |_| Ok(())))
            .map_err(|source| self.failed(source))?;
        Ok(writer.meta.applied)
    }

    /// Something was applied that is not committed.
    pub(crate) fn is_ahead(&self) -> bool {
        self.ahead.load(Ordering::Acquire)
    }

    /// The next of an apply thread's queue; commits where nothing comes for a while. `None`: it has ended.
    pub(crate) fn next_work<T>(&self, queue: &Receiver<T>) -> Option<T> {
        if self.is_ahead() {
            match queue.recv_timeout(COMMIT_IDLE) {
                Ok(work) => return Some(work),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Err(error) = self.commit() {
                tracing::error!(%error, "the store's state failed; it takes no writes until it is restarted");
            }
        }
        queue.recv().ok()
    }

    /// Commits what was applied, if there is something; nothing is synced.
    pub(crate) fn commit(&self) -> Result<(), StateError> {
        self.show_readers().map_err(|source| self.failed(source))
    }

    fn show_readers(&self) -> Result<(), redb::Error> {
        if !self.is_ahead() {
            return Ok(());
        }
        self.commit_open(&mut self.writer())
    }

    fn commit_open(&self, writer: &mut Writer) -> Result<(), redb::Error> {
        writer.commit()?;
        self.ahead.store(false, Ordering::Release);
        Ok(())
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes this the state of a cluster's member, on disk when this returns.
    pub(crate) fn join_log(&self, place: Place, membership: &[u8]) -> Result<(), StateError> {
        let mut writer = self.writer();
        let join = |tables: &mut tables::Tables<'_>| {
            let meta = &mut tables.meta;
            (meta.format, meta.applied, meta.term, meta.leader) =
                (FORMAT, place.index, place.term, place.leader);
            tables.save_membership(membership)
        };
        writer.meta = self
            .commit_open(&mut writer)
            .and_then(|()| tables::commit_synced(&self.database, writer.meta, join))
            .map_err(|source| self.failed(source))?;
        self.applied.send_replace(place.index);
        Ok(())
    }

    /// Events from a revision on, from memory where they are still there.
    pub(crate) fn events(&self, from: Revision, limit: usize) -> Result<Vec<Arc<Event>>, ReadError> {
        match self.ring.since(from, limit) {
            Some(events) => Ok(events),
            None => self.older_events(from, limit),
        }
    }

    fn failed(&self, source: redb::Error) -> StateError {
        StateError::Database { path: self.path.clone(), source: Box::new(source) }
    }
}

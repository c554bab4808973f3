//! The log thread of a Raft member: writes and syncs what Raft appends, cuts and purges.
//!
//! ```text
//!   append ─► cache (readable at once) ─► queue ─► write all that waits, fdatasync ─► tell Raft
//! ```
//!
//! A full disk is waited for: nothing is lost and nobody exits; meanwhile purges are still carried out, since they
//! make room. A failed sync ends this member's part in the cluster until a restart reads the disk back.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use openraft::storage::IOFlushed;
use tokio::sync::oneshot;

use super::cache::Cache;
use super::declared::{Entry, LogId, TypeConfig};
use super::entry;
use super::member_file::MemberFile;
use crate::health::Gauge;
use crate::log::{Log, LogError};

/// Bytes of one batch, past which the rest waits for the next sync.
const BATCH_BYTES: usize = 4 << 20;
/// How long a full disk is left alone before the next try.
const FULL_WAIT: Duration = Duration::from_millis(250);

/// What the log thread is asked to do.
pub(super) enum Order {
    Append(Vec<Entry>, IOFlushed<TypeConfig>),
    /// Drop everything after an index.
    Truncate(u64, oneshot::Sender<io::Result<()>>),
    /// Drop everything up to an entry.
    Purge(LogId, oneshot::Sender<io::Result<()>>),
}

/// What the log thread shares with readers.
#[derive(Debug)]
pub(super) struct Shared {
    log: Mutex<Log>,
    cache: Mutex<Cache>,
    file: Mutex<MemberFile>,
    /// The highest index known to be committed.
    pub(super) committed: AtomicU64,
    pub(super) gauge: Arc<Gauge>,
    pub(super) closing: AtomicBool,
}

impl Shared {
    pub(super) fn new(
        log: Log,
        file: MemberFile,
        last: Option<LogId>,
        committed: u64,
        gauge: Arc<Gauge>,
    ) -> Shared {
        Shared {
            log: Mutex::new(log),
            cache: Mutex::new(Cache::ending_with(last)),
            file: Mutex::new(file),
            committed: AtomicU64::new(committed),
            gauge,
            closing: AtomicBool::new(false),
        }
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn file(&self) -> MutexGuard<'_, MemberFile> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries from `begin` to before `end`, as far as they fit into `bytes`; at least one where there is one.
    ///
    /// The first of them may only be on disk, and the last of them not there yet: each part is read where it is.
    pub(super) fn read(&self, begin: u64, end: u64, bytes: usize) -> io::Result<Vec<Entry>> {
        let mut found: Vec<Entry> = Vec::new();
        let mut room = bytes;
        loop {
            let next = found.last().map_or(begin, |entry| entry.log_id.index + 1);
            if next >= end || (room == 0 && !found.is_empty()) {
                return Ok(found);
            }
            let cached_from = {
                let cache = self.cache();
                if let Some(more) = cache.read(next, end, room) {
                    found.extend(more);
                    return Ok(found);
                }
                cache.first().unwrap_or(end)
            };
            // What the cache drops meanwhile is on disk: the next turn reads it there.
            let before = found.len();
            room = self.read_disk(next, cached_from.min(end), room, &mut found)?;
            if found.len() == before {
                return Ok(found);
            }
        }
    }

    /// Adds what is on disk; gives the room that is left.
    fn read_disk(&self, begin: u64, end: u64, mut room: usize, found: &mut Vec<Entry>) -> io::Result<usize> {
        let mut wrong = None;
        let read = self.log().read(begin, |index, record| {
            if index >= end {
                return false;
            }
            if !found.is_empty() && record.len() > room {
                room = 0;
                return false;
            }
            room = room.saturating_sub(record.len());
            match entry::decode(index, record) {
                Ok(decoded) => found.push(decoded.entry),
                Err(reason) => wrong = Some(reason),
            }
            wrong.is_none()
        });
        read.map_err(io::Error::other)?;
        match wrong {
            Some(reason) => Err(io::Error::other(reason)),
            None => Ok(room),
        }
    }
}

pub(super) struct Journal {
    pub(super) shared: Arc<Shared>,
    pub(super) orders: Receiver<Order>,
    /// Orders that came while the disk was full.
    pub(super) deferred: VecDeque<Order>,
}

impl Journal {
    pub(super) fn run(mut self) {
        while let Some(order) = self.next() {
            let outcome = match order {
                Order::Append(entries, done) => self.append(entries, done),
                Order::Truncate(index, done) => answer(done, self.shared.log().truncate_after(index)),
                Order::Purge(log_id, done) => {
                    self.purge(log_id, done);
                    Ok(())
                }
            };
            if let Err(error) = outcome {
                tracing::error!(
                    error,
                    "the store's log failed; this member takes no part until it is restarted"
                );
                self.shared.gauge.fail();
                return self.refuse_all(&error);
            }
        }
    }

    fn next(&mut self) -> Option<Order> {
        self.deferred.pop_front().or_else(|| self.orders.recv().ok())
    }

    /// Writes and syncs an append and all that wait behind it.
    fn append(&mut self, mut entries: Vec<Entry>, done: IOFlushed<TypeConfig>) -> Result<(), String> {
        let mut callbacks = vec![done];
        let mut bytes: usize = entries.iter().map(entry::weight).sum();
        while bytes < BATCH_BYTES {
            match self.deferred.pop_front().or_else(|| self.orders.try_recv().ok()) {
                Some(Order::Append(more, done)) => {
                    bytes += more.iter().map(entry::weight).sum::<usize>();
                    entries.extend(more);
                    callbacks.push(done);
                }
                Some(other) => {
                    self.deferred.push_front(other);
                    break;
                }
                None => break,
            }
        }
        match self.persist(&entries) {
            Ok(()) => {
                // The latest first: Raft commits, and the state applies, the whole batch at once.
                callbacks.into_iter().rev().for_each(|done| done.io_completed(Ok(())));
                Ok(())
            }
            Err(reason) => {
                for done in callbacks {
                    done.io_completed(Err(io::Error::other(reason.clone())));
                }
                Err(reason)
            }
        }
    }

    fn persist(&mut self, entries: &[Entry]) -> Result<(), String> {
        let Some(last) = entries.last() else { return Ok(()) };
        self.write(entries)?;
        let (file, path) = self.shared.log().unsynced();
        let begun = Instant::now();
        file.sync_data().map_err(|error| format!("syncing {}: {error}", path.display()))?;
        self.shared.gauge.synced(entries.len(), begun.elapsed());
        self.shared.log().roll();
        self.shared.cache().written(last.log_id.index);
        Ok(())
    }

    /// Writes a batch; waits where the disk is full.
    fn write(&mut self, entries: &[Entry]) -> Result<(), String> {
        loop {
            match self.try_write(entries)? {
                Ok(()) => {
                    self.shared.gauge.full(None);
                    return Ok(());
                }
                Err(error) => self.shared.gauge.full(Some(error.to_string())),
            }
            if self.shared.closing.load(Ordering::Acquire) {
                return Err("closed while the disk was full".into());
            }
            match self.orders.recv_timeout(FULL_WAIT) {
                Ok(Order::Purge(log_id, done)) => self.purge(log_id, done),
                Ok(other) => self.deferred.push_back(other),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(FULL_WAIT),
            }
        }
    }

    /// `Ok(Err(_))`: the disk is full and nothing was written.
    fn try_write(&self, entries: &[Entry]) -> Result<Result<(), LogError>, String> {
        let committed = self.shared.committed.load(Ordering::Acquire);
        let mut record = Vec::new();
        let mut log = self.shared.log();
        let (first, next) = (entries[0].log_id.index, log.next());
        if first != next {
            return Err(format!("entry {first} was appended where {next} belongs"));
        }
        for entry in entries {
            entry::encode(&mut record, entry, committed)?;
            log.stage(&record);
        }
        match log.write(entries.len() as u64) {
            Err(error) if !error.is_full() => Err(error.to_string()),
            other => Ok(other),
        }
    }

    fn purge(&self, log_id: LogId, done: oneshot::Sender<io::Result<()>>) {
        let purged = || -> Result<(), String> {
            let mut file = self.shared.file();
            let promise = super::member_file::Promise { purged: Some(log_id), ..file.promise() };
            file.write(promise).map_err(|error| format!("writing {}: {error}", file.path().display()))?;
            drop(file);
            let mut log = self.shared.log();
            if log_id.index >= log.next() {
                log.restart(log_id.index + 1).map_err(|error| error.to_string())?;
                *self.shared.cache() = Cache::ending_with(Some(log_id));
            } else if let Err(error) = log.forget(log_id.index) {
                tracing::warn!(%error, "an old part of the store's log stays on disk");
            }
            Ok(())
        };
        // Raft does not wait for answers at close.
        let _ = done.send(purged().map_err(io::Error::other));
    }

    fn refuse_all(&mut self, reason: &str) {
        while let Some(order) = self.next() {
            let error = io::Error::other(reason.to_owned());
            match order {
                Order::Append(_, done) => done.io_completed(Err(error)),
                Order::Truncate(_, done) | Order::Purge(_, done) => drop(done.send(Err(error))),
            }
        }
    }
}

fn answer(done: oneshot::Sender<io::Result<()>>, outcome: Result<(), LogError>) -> Result<(), String> {
    let failed = outcome.as_ref().err().map(ToString::to_string);
    // Raft does not wait for answers at close.
    let _ = done.send(outcome.map_err(io::Error::other));
    failed.map_or(Ok(()), Err)
}

/// Reads a log back. Gives it with its last entry and the highest index known to be committed.
pub(super) fn recover(
    folder: &Path,
    applied: Option<LogId>,
    mut visit: impl FnMut(Entry) -> Result<(), String>,
) -> Result<(Log, Option<LogId>, u64), String> {
    let begin = applied.map_or(0, |applied| applied.index);
    let (mut last, mut committed) = (None, 0);
    let opened = Log::open(folder, begin, |index, record| {
        let found = entry::decode(index, record).map_err(RecoverError::Entry)?;
        last = Some(found.entry.log_id);
        committed = committed.max(found.committed);
        visit(found.entry).map_err(RecoverError::Entry)
    });
    let mut log = opened.map_err(|error: RecoverError| error.to_string())?;
    if last.is_none() && log.next() != begin + 1 {
        // A snapshot was installed, and the log before it was not dropped any more.
        log.restart(begin + 1).map_err(|error| error.to_string())?;
    }
    Ok((log, last.or(applied), committed.max(begin)))
}

#[derive(Debug, thiserror::Error)]
enum RecoverError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("{0}")]
    Entry(String),
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;
    use openraft::vote::RaftLeaderId as _;

    use super::super::declared::{LeaderId, Payload};
    use super::super::member_file::Promise;
    use super::*;

    fn entry(index: u64) -> Entry {
        let payload = EntryPayload::Normal(Payload(vec![index as u8; 100].into()));
        Entry { log_id: LogId { leader_id: LeaderId::new(1, 1), index }, payload }
    }

    #[test]
    fn entries_are_read_over_the_edge_between_disk_and_memory() {
        let folder = tempfile::tempdir().unwrap();
        let promise = Promise { member: 1, cluster: 1, vote: None, purged: None };
        let file = MemberFile::create(&folder.path().join("member"), promise).unwrap();
        let mut log = Log::open::<LogError>(&folder.path().join("log"), 0, |_, _| Ok(())).unwrap();
        let mut record = Vec::new();
        for index in 1..=100 {
            entry::encode(&mut record, &entry(index), 0).unwrap();
            log.stage(&record);
        }
        log.write(100).unwrap();
        let shared = Shared::new(log, file, Some(entry(100).log_id), 0, Arc::default());
        for index in 101..=110 {
            // In memory, and not on disk yet.
            shared.cache().push(entry(index));
        }
        for (begin, end, bytes, expected) in [
            (95, 106, usize::MAX, 95..106),
            (1, 111, usize::MAX, 1..111),
            (101, 111, usize::MAX, 101..111),
            (99, 101, usize::MAX, 99..101),
            (95, 106, 1, 95..96),
            (100, 106, 250, 100..102),
            (110, 120, usize::MAX, 110..111),
            (111, 120, usize::MAX, 111..111),
        ] {
            let found: Vec<u64> =
                shared.read(begin, end, bytes).unwrap().iter().map(|entry| entry.log_id.index).collect();
            assert_eq!(found, expected.collect::<Vec<_>>(), "{begin}..{end} in {bytes} bytes");
        }
    }
}

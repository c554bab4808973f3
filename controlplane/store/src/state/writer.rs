//! The open transaction: batches go into it one after the other, and one commit makes many of them.
//!
//! ```text
//!   apply, apply, ... ─► open transaction ─► commit, not synced     when it is large, when nothing comes any more,
//!                             ▲                                     when a stretch or a snapshot is read, before a flush
//!              a read of one key, under the same lock
//! ```
//!
//! A commit costs pages, not entries: a page that ten batches touch is copied and checksummed once.
//!
//! **Invariants**
//! - What was applied is what every read sees: a read of the database itself commits first.
//! - After an error nothing is applied any more, and what was not committed is read by nobody: a restart brings it back
//!   from the log.

use redb::{Database, Durability, WriteTransaction};

use super::Progress;
use super::apply::{self, Outcome};
use super::encoding::decode_current;
use super::tables::{CURRENT, Meta};
use crate::command::Command;
use crate::record::{Record, Revision};

/// Commands after which there is a commit.
const COMMIT_COMMANDS: usize = 2048;
/// Bytes of events after which there is one.
const COMMIT_BYTES: usize = 1 << 20;

/// Who writes to the database.
pub(super) struct Writer {
    open: Option<WriteTransaction>,
    /// The counters after all that was applied.
    pub(super) meta: Meta,
    commands: usize,
    bytes: usize,
    failed: bool,
}

impl Writer {
    pub(super) fn new(meta: Meta) -> Writer {
        Writer { open: None, meta, commands: 0, bytes: 0, failed: false }
    }

    /// Something was applied that readers of the database do not see, or never will.
    pub(super) fn is_ahead(&self) -> bool {
        self.open.is_some()
    }

    /// Applies a batch.
    pub(super) fn apply(
        &mut self,
        database: &Database,
        entries: &[(u64, Command)],
        progress: &Progress,
    ) -> Result<Outcome, redb::Error> {
        self.check()?;
        let (outcome, meta) = self.guarded(|writer| {
            let open = match &mut writer.open {
                Some(open) => open,
                closed => {
                    let mut write = database.begin_write()?;
                    write.set_durability(Durability::None)?;
                    closed.insert(write)
                }
            };
            apply::apply(open, writer.meta, entries, progress)
        })?;
        self.meta = meta;
        self.commands += entries.len();
        self.bytes += outcome.events.iter().map(|event| event.weight()).sum::<usize>();
        if self.commands >= COMMIT_COMMANDS || self.bytes >= COMMIT_BYTES {
            self.commit()?;
        }
        Ok(outcome)
    }

    /// A key as the last batch left it, where the database's readers would not see that.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<(Revision, Option<Record>)>, redb::Error> {
        self.check()?;
        let Some(open) = &self.open else { return Ok(None) };
        let current = open.open_table(CURRENT)?;
        let found = redb::ReadableTable::get(&current, key)?.map(|bytes| decode_current(key, bytes.value()));
        Ok(Some((self.meta.revision, found)))
    }

    /// Shows the database's readers all that was applied.
    pub(super) fn commit(&mut self) -> Result<(), redb::Error> {
        self.check()?;
        self.guarded(|writer| {
            let Some(open) = writer.open.take() else { return Ok(()) };
            writer.meta.save(&open)?;
            Ok(open.commit()?)
        })?;
        (self.commands, self.bytes) = (0, 0);
        Ok(())
    }

    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut Writer) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        // Also where it panics: nobody commits half a batch afterwards.
        self.failed = true;
        let outcome = work(self);
        match &outcome {
            Ok(_) => self.failed = false,
            // What it holds may be half a batch.
            Err(_) => self.open = None,
        }
        outcome
    }

    fn check(&self) -> Result<(), redb::Error> {
        if self.failed { Err(redb::Error::PreviousIo) } else { Ok(()) }
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("ahead", &self.is_ahead()).field("failed", &self.failed).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::COMMIT_COMMANDS;
    use crate::command::{Command, Operation, Transaction};
    use crate::record::{KeyRange, Revision};
    use crate::state::{RangeRequest, State};

    #[test]
    fn a_batch_that_panics_is_never_committed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        let state = State::open(&path).unwrap();
        put(&state, 1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            state.writer().guarded(|_| -> Result<(), redb::Error> { panic!("in the middle of a batch") })
        }));
        assert!(panicked.is_err());
        assert!(state.flush().is_err() && state.get(b"k000001").is_err());
        drop(state);
        assert_eq!(State::open(&path).unwrap().applied(), 0);
    }

    fn put(state: &State, number: u64) {
        let put = Operation::Put { key: format!("k{number:06}").into(), value: b"v".to_vec(), lease: 0 };
        let transaction = Transaction { success: vec![put], ..Transaction::default() };
        state.apply(&[(number, Command::Transaction(transaction))]).unwrap();
    }

    #[test]
    fn every_read_sees_what_was_applied_and_commits_are_few() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        let state = State::open(&path).unwrap();
        for number in 1..=10 {
            put(&state, number);
            let (revision, found) = state.get(format!("k{number:06}").as_bytes()).unwrap();
            assert_eq!((revision, found.map(|record| record.modified)), (Revision(number), Some(revision)));
            assert!(state.is_ahead(), "a read of one key commits nothing");
        }
        let all = RangeRequest { range: KeyRange::prefix("k"), revision: None, limit: 0 };
        assert_eq!(state.range(&all).unwrap().records.len(), 10);
        assert!(!state.is_ahead(), "a read of a stretch commits");
        assert_eq!(state.get(b"k000010").unwrap().0, Revision(10));
        for number in 11..11 + COMMIT_COMMANDS as u64 {
            put(&state, number);
        }
        assert!(!state.is_ahead(), "a large transaction is committed");

        put(&state, 5000);
        let (queue, work) = mpsc::channel();
        let waiter = std::thread::scope(|scope| {
            let there = &state;
            let waiter = scope.spawn(move || there.next_work(&work));
            let deadline = Instant::now() + Duration::from_secs(120);
            while state.is_ahead() {
                assert!(Instant::now() < deadline, "nobody commits");
                std::thread::sleep(Duration::from_millis(1));
            }
            queue.send(7).unwrap();
            waiter.join().unwrap()
        });
        assert_eq!(waiter, Some(7), "it commits where nothing comes, and goes on waiting");

        put(&state, 5001);
        assert_eq!(state.flush().unwrap(), 5001);
        put(&state, 5002);
        drop(state);
        let state = State::open(&path).unwrap();
        assert_eq!(state.applied(), 5001, "what was not committed comes back from the log");
        assert!(state.get(b"k005002").unwrap().1.is_none());
    }
}

//! The end of the log in memory: what replication and application read.
//!
//! **Invariants**
//! - The entries are dense, and the last one is the log's last.
//! - What is not on disk yet is never evicted.

use std::collections::VecDeque;

use super::declared::{Entry, LogId};
use super::entry::weight;

/// Bytes of entries kept beyond those that are not on disk yet.
const CACHE_BYTES: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Cache {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Entries up to here are on disk.
    written: u64,
    last: Option<LogId>,
}

impl Cache {
    /// An empty cache of a log that ends with `last`.
    pub(super) fn ending_with(last: Option<LogId>) -> Cache {
        Cache { entries: VecDeque::new(), bytes: 0, written: last.map_or(0, |last| last.index), last }
    }

    pub(super) fn last(&self) -> Option<LogId> {
        self.last
    }

    /// The first entry that is in memory.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.log_id.index)
    }

    /// Adds an entry at the end.
    pub(super) fn push(&mut self, entry: Entry) {
        self.last = Some(entry.log_id);
        self.bytes += weight(&entry);
        self.entries.push_back(entry);
        self.evict();
    }

    /// Entries up to `index` are on disk.
    pub(super) fn written(&mut self, index: u64) {
        self.written = self.written.max(index);
        self.evict();
    }

    /// The log ends with `last` now.
    pub(super) fn truncate(&mut self, last: Option<LogId>) {
        let next = last.map_or(0, |last| last.index + 1);
        while self.entries.back().is_some_and(|entry| entry.log_id.index >= next) {
            self.bytes -= self.entries.pop_back().map_or(0, |entry| weight(&entry));
        }
        self.written = self.written.min(next.saturating_sub(1));
        self.last = last;
    }

    /// Entries from `begin` up to but not including `end`, as far as they fit into `bytes`, at least one; `None`
    /// where the first of them is only on disk.
    pub(super) fn read(&self, begin: u64, end: u64, bytes: usize) -> Option<Vec<Entry>> {
        let first = self.entries.front()?.log_id.index;
        let skip = usize::try_from(begin.checked_sub(first)?).ok()?;
        let mut room = bytes;
        let mut found = Vec::new();
        for entry in self.entries.range(skip.min(self.entries.len())..) {
            if entry.log_id.index >= end || (!found.is_empty() && weight(entry) > room) {
                break;
            }
            room = room.saturating_sub(weight(entry));
            found.push(entry.clone());
        }
        Some(found)
    }

    fn evict(&mut self) {
        while self.bytes > CACHE_BYTES
            && self.entries.front().is_some_and(|entry| entry.log_id.index <= self.written)
        {
            self.bytes -= self.entries.pop_front().map_or(0, |entry| weight(&entry));
        }
    }
}

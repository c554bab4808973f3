//! Reading: at the latest revision or at an older one that was not compacted.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable};

use super::encoding::{decode_current, decode_event, modified};
use super::tables::{META, Meta, RAFT, ReadTables};
use super::{Place, State};
use crate::command::LeaseId;
use crate::record::{Event, KeyRange, Record, Revision};

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The revision asked for is compacted.
    #[error("the requested revision {requested} has been compacted; the oldest is {oldest}")]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// What can be read.
        oldest: Revision,
    },
    /// The revision asked for does not exist yet.
    #[error("the requested revision {requested} is in the future; the store is at {current}")]
    Future {
        /// What was asked for.
        requested: Revision,
        /// What there is.
        current: Revision,
    },
    /// The database said no.
    #[error("reading the store's state: {0}")]
    Database(#[from] Box<redb::Error>),
}

impl From<redb::Error> for ReadError {
    fn from(source: redb::Error) -> ReadError {
        ReadError::Database(Box::new(source))
    }
}

/// A stretch of keys to read.
#[derive(Clone, Debug)]
pub struct RangeRequest {
    /// Which keys.
    pub range: KeyRange,
    /// As of which revision; `None`: the latest.
    pub revision: Option<Revision>,
    /// Records at most; 0: all.
    pub limit: usize,
}

/// What a range holds.
#[derive(Clone, Debug)]
pub struct Page {
    /// The revision it was read at.
    pub revision: Revision,
    /// In the order of their keys.
    pub records: Vec<Record>,
    /// Records of the range behind the limit.
    pub remaining: usize,
}

impl State {
    /// The latest version of a key, and the store's revision.
    pub fn get(&self, key: &[u8]) -> Result<(Revision, Option<Record>), ReadError> {
        if self.is_ahead()
            && let Some(found) = self.writer().get(key)?
        {
            return Ok(found);
        }
        let tables = open(&self.database)?;
        let found = tables.current.get(key).map_err(redb::Error::from)?;
        Ok((tables.meta.revision, found.map(|bytes| decode_current(key, bytes.value()))))
    }

    /// The keys of a range.
    pub fn range(&self, request: &RangeRequest) -> Result<Page, ReadError> {
        let tables = self.tables()?;
        let revision = request.revision.unwrap_or(tables.meta.revision);
        check(revision, &tables)?;
        let changed = changed_after(&tables, &request.range, revision)?;
        let mut page = Page { revision, records: Vec::new(), remaining: 0 };
        let mut add = |record: &mut dyn FnMut() -> Record| {
            if request.limit == 0 || page.records.len() < request.limit {
                page.records.push(record());
            } else {
                page.remaining += 1;
            }
        };
        let mut older = changed.into_iter().peekable();
        for entry in tables.current.range(request.range.start.as_slice()..).map_err(redb::Error::from)? {
            let (key, bytes) = entry.map_err(redb::Error::from)?;
            let key = key.value();
            if !request.range.contains(key) {
                break;
            }
            while let Some((_, record)) = older.next_if(|(changed, _)| changed[..] <= *key) {
                if let Some(record) = record {
                    add(&mut || record.clone());
                }
            }
            if modified(bytes.value()) <= revision {
                add(&mut || decode_current(key, bytes.value()));
            }
        }
        for record in older.filter_map(|(_, record)| record) {
            add(&mut || record.clone());
        }
        Ok(page)
    }

    /// Leases that ended before `now_millis`, the earliest deadline among the rest, both bounded by what
    /// one sweep should revoke.
    pub fn leases_due(&self, now_millis: u64) -> Result<(Vec<LeaseId>, Option<u64>), ReadError> {
        let tables = self.tables()?;
        let mut due = Vec::new();
        let mut next: Option<u64> = None;
        for entry in tables.leases.iter().map_err(redb::Error::from)? {
            let (id, value) = entry.map_err(redb::Error::from)?;
            let (_, deadline) = value.value();
            if deadline <= now_millis {
                due.push(id.value());
            } else {
                next = Some(next.map_or(deadline, |next| next.min(deadline)));
            }
        }
        Ok((due, next))
    }

    /// Events from a revision on, from the history table; whole transactions.
    pub(super) fn older_events(&self, from: Revision, limit: usize) -> Result<Vec<Arc<Event>>, ReadError> {
        let tables = self.tables()?;
        if from <= tables.meta.compacted {
            return Err(ReadError::Compacted { requested: from, oldest: tables.meta.compacted.next() });
        }
        let mut events: Vec<Arc<Event>> = Vec::new();
        for entry in tables.history.range((from.0, 0)..).map_err(redb::Error::from)? {
            let (place, bytes) = entry.map_err(redb::Error::from)?;
            let (revision, sub) = place.value();
            if events.len() >= limit && events.last().is_some_and(|last| last.record.modified.0 != revision) {
                break;
            }
            events.push(Arc::new(decode_event(sub, bytes.value())));
        }
        Ok(events)
    }

    /// Where in a Raft log the state is, and the membership there, encoded.
    pub(crate) fn place(&self) -> Result<(Place, Option<Vec<u8>>), ReadError> {
        self.show_readers()?;
        let read = || -> Result<_, redb::Error> {
            let read = self.database.begin_read()?;
            let meta = Meta::read(&read.open_table(META)?)?;
            let membership = read.open_table(RAFT)?.get("membership")?.map(|bytes| bytes.value().to_vec());
            Ok((Place { index: meta.applied, term: meta.term, leader: meta.leader }, membership))
        };
        Ok(read()?)
    }

    /// The tables with all that was applied.
    fn tables(&self) -> Result<ReadTables, ReadError> {
        self.show_readers()?;
        open(&self.database)
    }
}

fn open(database: &Database) -> Result<ReadTables, ReadError> {
    let read = database.begin_read().map_err(redb::Error::from)?;
    Ok(ReadTables::open(&read)?)
}

fn check(revision: Revision, tables: &ReadTables) -> Result<(), ReadError> {
    let meta = tables.meta;
    if revision > meta.revision {
        return Err(ReadError::Future { requested: revision, current: meta.revision });
    }
    // At the compacted revision itself everything can still be read: only what lies before it is gone.
    if revision < meta.compacted {
        return Err(ReadError::Compacted { requested: revision, oldest: meta.compacted });
    }
    Ok(())
}

/// The keys of a range that changed after a revision, as they were at that revision.
fn changed_after(
    tables: &ReadTables,
    range: &KeyRange,
    revision: Revision,
) -> Result<BTreeMap<Arc<[u8]>, Option<Record>>, ReadError> {
    let mut changed = BTreeMap::new();
    if revision == tables.meta.revision {
        return Ok(changed);
    }
    for entry in tables.history.range((revision.0 + 1, 0)..).map_err(redb::Error::from)? {
        let (place, bytes) = entry.map_err(redb::Error::from)?;
        let event = decode_event(place.value().1, bytes.value());
        if range.contains(&event.record.key) {
            changed.entry(event.record.key).or_insert(event.previous);
        }
    }
    Ok(changed)
}

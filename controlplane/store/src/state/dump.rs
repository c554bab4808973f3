//! The whole state, part by part, as of one moment: for a new member and for a snapshot file.
//!
//! **Invariants**
//! - All parts come from one read transaction; writes go on meanwhile.
//! - A part is bounded: it ends with the record that passes the limit.

use redb::{ReadTransaction, ReadableDatabase};
use serde::{Deserialize, Serialize};

use super::tables::{CURRENT, HISTORY, LEASES, META, Meta, RAFT};
use super::{Place, State, StateError};
use crate::record::Revision;

/// Bytes of a part, past which it ends.
const PART_BYTES: usize = 512 << 10;

/// What a dump begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    pub(crate) place: Place,
    pub(crate) membership: Option<Vec<u8>>,
}

/// A stretch of one table, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Part {
    /// Keys and their latest versions.
    Current(Vec<(Bytes, Bytes)>),
    /// Events by revision and position.
    History(Vec<(u64, u32, Bytes)>),
    /// Leases: id, seconds to live, deadline.
    Leases(Vec<(u64, u64, u64)>),
}

pub(crate) type Bytes = serde_bytes::ByteBuf;

/// A walk over the state.
pub(crate) struct Dump {
    read: ReadTransaction,
    header: Header,
    next: Next,
}

/// Where the walk goes on.
enum Next {
    Current(Vec<u8>),
    History(u64, u32),
    Leases,
    End,
}

impl State {
    /// The state as of now.
    pub(crate) fn dump(&self) -> Result<Dump, StateError> {
        self.commit()?;
        let begin = || -> Result<Dump, redb::Error> {
            let read = self.database.begin_read()?;
            let meta = Meta::read(&read.open_table(META)?)?;
            let membership = read.open_table(RAFT)?.get("membership")?.map(|bytes| bytes.value().to_vec());
            let place = Place { index: meta.applied, term: meta.term, leader: meta.leader };
            let header = Header { revision: meta.revision, compacted: meta.compacted, place, membership };
            Ok(Dump { read, header, next: Next::Current(Vec::new()) })
        };
        begin().map_err(|source| self.failed(source))
    }
}

impl Dump {
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The next part; `None` after the last.
    pub(crate) fn part(&mut self) -> Result<Option<Part>, redb::Error> {
        loop {
            let (part, next) = match &self.next {
                Next::Current(from) => self.current(from)?,
                Next::History(revision, sub) => self.history(*revision, *sub)?,
                Next::Leases => self.leases()?,
                Next::End => return Ok(None),
            };
            self.next = next;
            if let Some(part) = part {
                return Ok(Some(part));
            }
        }
    }

    fn current(&self, from: &[u8]) -> Result<(Option<Part>, Next), redb::Error> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        for entry in self.read.open_table(CURRENT)?.range(from..)? {
            let (key, value) = entry?;
            let (key, value) = (key.value(), value.value());
            if bytes >= PART_BYTES {
                return Ok((Some(Part::Current(records)), Next::Current(key.to_vec())));
            }
            bytes += key.len() + value.len();
            records.push((Bytes::from(key), Bytes::from(value)));
        }
        Ok(((!records.is_empty()).then_some(Part::Current(records)), Next::History(0, 0)))
    }

    fn history(&self, revision: u64, sub: u32) -> Result<(Option<Part>, Next), redb::Error> {
        let (mut events, mut bytes) = (Vec::new(), 0);
        for entry in self.read.open_table(HISTORY)?.range((revision, sub)..)? {
            let (place, value) = entry?;
            let (revision, sub) = place.value();
            if bytes >= PART_BYTES {
                return Ok((Some(Part::History(events)), Next::History(revision, sub)));
            }
            bytes += value.value().len();
            events.push((revision, sub, Bytes::from(value.value())));
        }
        Ok(((!events.is_empty()).then_some(Part::History(events)), Next::Leases))
    }

    fn leases(&self) -> Result<(Option<Part>, Next), redb::Error> {
        let mut leases = Vec::new();
        for entry in self.read.open_table(LEASES)?.range(0..)? {
            let (id, value) = entry?;
            let (ttl, deadline) = value.value();
            leases.push((id.value(), ttl, deadline));
        }
        Ok(((!leases.is_empty()).then_some(Part::Leases(leases)), Next::End))
    }
}

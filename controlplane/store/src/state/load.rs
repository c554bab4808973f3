//! Replacing the whole state by a dump, in one transaction: readers see the old one or the new one.

use std::sync::atomic::Ordering;

use redb::Durability;

use super::dump::{Header, Part};
use super::encoding::decode_current;
use super::tables::{CURRENT, HISTORY, LEASE_KEYS, LEASES, Tables};
use super::{FORMAT, State, StateError};
use crate::ring::Ring;

/// Why a state was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The parts could not be read.
    #[error("reading the snapshot: {0}")]
    Source(String),
    /// The database said no.
    #[error(transparent)]
    State(#[from] StateError),
}

impl State {
    /// Replaces everything, on disk when this returns. On an error nothing is changed.
    pub(crate) fn load(
        &self,
        header: &Header,
        mut parts: impl FnMut() -> Result<Option<Part>, String>,
    ) -> Result<(), LoadError> {
        let failed = |source: redb::Error| LoadError::State(self.failed(source));
        let mut writer = self.writer();
        self.commit_open(&mut writer).map_err(failed)?;
        let mut write = self.database.begin_write().map_err(|error| failed(error.into()))?;
        write.set_durability(Durability::Immediate).map_err(|error| failed(error.into()))?;
        write.set_quick_repair(true);
        let empty = || -> Result<(), redb::Error> {
            write.delete_table(CURRENT)?;
            write.delete_table(HISTORY)?;
            write.delete_table(LEASES)?;
            write.delete_table(LEASE_KEYS)?;
            Ok(())
        };
        empty().map_err(failed)?;
        let meta = {
            let mut tables = Tables::open(&write, writer.meta).map_err(failed)?;
            tables.make_all().map_err(failed)?;
            while let Some(part) = parts().map_err(LoadError::Source)? {
                insert(&mut tables, part).map_err(failed)?;
            }
            settle(&mut tables, header).map_err(failed)?;
            tables.meta
        };
        write.commit().map_err(|error| failed(error.into()))?;
        writer.meta = meta;
        self.applied.send_replace(header.place.index);
        self.compacted.store(header.compacted.0, Ordering::Release);
        self.ring.restart(Ring::starting_after(header.revision));
        self.progress.send_replace(header.revision);
        Ok(())
    }
}

fn insert(tables: &mut Tables<'_>, part: Part) -> Result<(), redb::Error> {
    match part {
        Part::Current(records) => {
            for (key, value) in records {
                let lease = decode_current(&key, &value).lease;
                if lease != 0 {
                    tables.lease_keys()?.insert((lease, key.as_slice()), ())?;
                }
                tables.current.insert(key.as_slice(), value.as_slice())?;
            }
        }
        Part::History(events) => {
            for (revision, sub, event) in events {
                tables.history.insert((revision, sub), event.as_slice())?;
            }
        }
        Part::Leases(leases) => {
            for (id, ttl, deadline) in leases {
                tables.leases()?.insert(id, (ttl, deadline))?;
            }
        }
    }
    Ok(())
}

fn settle(tables: &mut Tables<'_>, header: &Header) -> Result<(), redb::Error> {
    let meta = &mut tables.meta;
    meta.revision = header.revision;
    meta.compacted = header.compacted;
    (meta.applied, meta.term, meta.leader) = (header.place.index, header.place.term, header.place.leader);
    if let Some(membership) = &header.membership {
        meta.format = FORMAT;
        tables.save_membership(membership)?;
    }
    tables.save_meta()
}

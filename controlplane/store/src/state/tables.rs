//! The tables and how a transaction opens them.

use redb::{
    Database, Durability, ReadOnlyTable, ReadTransaction, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};

use super::ALONE;
use crate::record::Revision;

pub(super) const CURRENT: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("current");
pub(super) const HISTORY: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("history");
pub(super) const LEASES: TableDefinition<'_, u64, (u64, u64)> = TableDefinition::new("leases");
pub(super) const LEASE_KEYS: TableDefinition<'_, (u64, &[u8]), ()> = TableDefinition::new("lease_keys");
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const RAFT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("raft");

/// The state's counters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    pub(super) format: u64,
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
    pub(super) applied: u64,
    /// Term and leader of the entry `applied`; 0 in a store of one member.
    pub(super) term: u64,
    pub(super) leader: u64,
}

impl Meta {
    pub(super) fn read(table: &impl ReadableTable<&'static str, u64>) -> Result<Meta, redb::Error> {
        let number = |name| Ok::<u64, redb::Error>(table.get(name)?.map_or(0, |value| value.value()));
        Ok(Meta {
            format: number("format")?,
            revision: Revision(number("revision")?),
            compacted: Revision(number("compacted")?),
            applied: number("applied")?,
            term: number("term")?,
            leader: number("leader")?,
        })
    }

    pub(super) fn save(&self, write: &WriteTransaction) -> Result<(), redb::Error> {
        let mut table = write.open_table(META)?;
        table.insert("format", self.format)?;
        table.insert("revision", self.revision.0)?;
        table.insert("compacted", self.compacted.0)?;
        table.insert("applied", self.applied)?;
        if self.term > 0 {
            table.insert("term", self.term)?;
            table.insert("leader", self.leader)?;
        }
        Ok(())
    }
}

/// The tables of a write transaction; those that few commands need are opened by the first one.
pub(super) struct Tables<'t> {
    write: &'t WriteTransaction,
    pub(super) current: Table<'t, &'static [u8], &'static [u8]>,
    pub(super) history: Table<'t, (u64, u32), &'static [u8]>,
    leases: Option<Table<'t, u64, (u64, u64)>>,
    lease_keys: Option<Table<'t, (u64, &'static [u8]), ()>>,
    pub(super) meta: Meta,
}

impl<'t> Tables<'t> {
    pub(super) fn open(write: &'t WriteTransaction, meta: Meta) -> Result<Tables<'t>, redb::Error> {
        let (current, history) = (write.open_table(CURRENT)?, write.open_table(HISTORY)?);
        Ok(Tables { write, current, history, leases: None, lease_keys: None, meta })
    }

    /// Makes those that do not exist.
    pub(super) fn make_all(&mut self) -> Result<(), redb::Error> {
        self.leases()?;
        self.lease_keys()?;
        self.write.open_table(RAFT)?;
        Ok(())
    }

    pub(super) fn leases(&mut self) -> Result<&mut Table<'t, u64, (u64, u64)>, redb::Error> {
        match &mut self.leases {
            Some(table) => Ok(table),
            closed => Ok(closed.insert(self.write.open_table(LEASES)?)),
        }
    }

    pub(super) fn lease_keys(&mut self) -> Result<&mut Table<'t, (u64, &'static [u8]), ()>, redb::Error> {
        match &mut self.lease_keys {
            Some(table) => Ok(table),
            closed => Ok(closed.insert(self.write.open_table(LEASE_KEYS)?)),
        }
    }

    pub(super) fn save_membership(&self, membership: &[u8]) -> Result<(), redb::Error> {
        self.write.open_table(RAFT)?.insert("membership", membership)?;
        Ok(())
    }

    pub(super) fn save_meta(&self) -> Result<(), redb::Error> {
        self.meta.save(self.write)
    }
}

/// The tables that readers use.
pub(super) struct ReadTables {
    pub(super) current: ReadOnlyTable<&'static [u8], &'static [u8]>,
    pub(super) history: ReadOnlyTable<(u64, u32), &'static [u8]>,
    pub(super) leases: ReadOnlyTable<u64, (u64, u64)>,
    pub(super) meta: Meta,
}

impl ReadTables {
    pub(super) fn open(read: &ReadTransaction) -> Result<ReadTables, redb::Error> {
        Ok(ReadTables {
            current: read.open_table(CURRENT)?,
            history: read.open_table(HISTORY)?,
            leases: read.open_table(LEASES)?,
            meta: Meta::read(&read.open_table(META)?)?,
        })
    }
}

/// Creates what is missing and reads the counters.
pub(super) fn initialise(database: &Database) -> Result<Meta, redb::Error> {
    let write = database.begin_write()?;
    let mut meta = Meta::read(&write.open_table(META)?)?;
    if meta.format == 0 {
        meta.format = ALONE;
    }
    {
        let mut tables = Tables::open(&write, meta)?;
        tables.make_all()?;
        tables.save_meta()?;
    }
    write.commit()?;
    Ok(meta)
}

/// A small synced commit; it puts every commit before it on disk. Gives the counters after it.
pub(super) fn commit_synced(
    database: &Database,
    meta: Meta,
    change: impl FnOnce(&mut Tables<'_>) -> Result<(), redb::Error>,
) -> Result<Meta, redb::Error> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    // Without it a crash walks the whole tree at the next open.
    write.set_quick_repair(true);
    let meta = {
        let mut tables = Tables::open(&write, meta)?;
        change(&mut tables)?;
        tables.save_meta()?;
        tables.meta
    };
    write.commit()?;
    Ok(meta)
}

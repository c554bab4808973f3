//! Applying commands: the deterministic part of the store.

use std::collections::HashSet;
use std::sync::Arc;

use redb::{ReadableTable, WriteTransaction};

use super::Progress;
use super::encoding::{decode_current, encode_current, encode_event};
use super::tables::{Meta, Tables};
use crate::command::{
    Command, Compare, Field, LeaseId, Operation, OperationReply, Reply, Transaction, TransactionReply,
};
use crate::record::{Event, EventKind, KeyRange, Record, Revision};

/// What a batch did.
pub(super) struct Outcome {
    pub(super) replies: Vec<Reply>,
    pub(super) events: Vec<Arc<Event>>,
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
}

/// Applies a batch to a transaction; gives what it did, and the counters after it.
pub(super) fn apply(
    write: &WriteTransaction,
    meta: Meta,
    entries: &[(u64, Command)],
    progress: &Progress,
) -> Result<(Outcome, Meta), redb::Error> {
    let mut machine = Machine { tables: Tables::open(write, meta)?, events: Vec::new() };
    let mut replies = Vec::with_capacity(entries.len());
    for (index, command) in entries {
        replies.push(machine.command(command)?);
        machine.tables.meta.applied = *index;
    }
    if let Some(place) = progress.place {
        let meta = &mut machine.tables.meta;
        (meta.applied, meta.term, meta.leader) = (place.index, place.term, place.leader);
    }
    if let Some(membership) = &progress.membership {
        machine.tables.save_membership(membership)?;
    }
    let meta = machine.tables.meta;
    let outcome =
        Outcome { replies, events: machine.events, revision: meta.revision, compacted: meta.compacted };
    Ok((outcome, meta))
}

struct Machine<'t> {
    tables: Tables<'t>,
    events: Vec<Arc<Event>>,
}

impl Machine<'_> {
    fn command(&mut self, command: &Command) -> Result<Reply, redb::Error> {
        match command {
            Command::Transaction(transaction) => self.transaction(transaction),
            Command::Compact(revision) => self.compact(*revision),
            Command::LeaseGrant { id, ttl_seconds, now_millis } => {
                self.lease_grant(*id, *ttl_seconds, *now_millis)
            }
            Command::LeaseKeepAlive { id, now_millis } => self.lease_keep_alive(*id, *now_millis),
            Command::LeaseRevoke(id) => self.lease_revoke(*id),
        }
    }

    // === transactions ===

    fn transaction(&mut self, transaction: &Transaction) -> Result<Reply, redb::Error> {
        let mut succeeded = true;
        for compare in &transaction.compare {
            succeeded &= self.holds(compare)?;
        }
        let operations = if succeeded { &transaction.success } else { &transaction.failure };
        if let Some(reason) = self.nonsense(operations)? {
            return Ok(Reply::Refused(reason));
        }
        let revision = self.tables.meta.revision.next();
        let mut results = Vec::with_capacity(operations.len());
        let mut sub = 0;
        for operation in operations {
            results.push(match operation {
                Operation::Put { key, value, lease } => {
                    OperationReply::Put(self.put(revision, &mut sub, key, value, *lease)?)
                }
                Operation::Delete(range) => OperationReply::Deleted(self.delete(revision, &mut sub, range)?),
                Operation::Get(key) => OperationReply::Got(self.get(key)?),
            });
        }
        if sub > 0 {
            self.tables.meta.revision = revision;
        }
        Ok(Reply::Transaction(TransactionReply { revision: self.tables.meta.revision, succeeded, results }))
    }

    fn holds(&self, compare: &Compare) -> Result<bool, redb::Error> {
        let record = self.get(&compare.key)?;
        Ok(match (&compare.field, &record) {
            (Field::Modified(wanted), _) => record.map_or(Revision(0), |record| record.modified) == *wanted,
            (Field::Created(wanted), _) => record.map_or(Revision(0), |record| record.created) == *wanted,
            (Field::Version(wanted), _) => record.map_or(0, |record| record.version) == *wanted,
            (Field::Lease(wanted), _) => record.map_or(0, |record| record.lease) == *wanted,
            (Field::Value(wanted), Some(record)) => record.value[..] == wanted[..],
            (Field::Value(_), None) => false,
        })
    }

    /// Why the operations cannot be carried out; checked before the first one is.
    fn nonsense(&mut self, operations: &[Operation]) -> Result<Option<String>, redb::Error> {
        let mut written = HashSet::new();
        for operation in operations {
            let Operation::Put { key, lease, .. } = operation else { continue };
            if key.is_empty() {
                return Ok(Some("a key must not be empty".into()));
            }
            if operations.len() > 1 && !written.insert(key) {
                return Ok(Some(format!(
                    "duplicate key {:?} in one transaction",
                    String::from_utf8_lossy(key)
                )));
            }
            if *lease != 0 && self.tables.leases()?.get(lease)?.is_none() {
                return Ok(Some(format!("requested lease {lease} not found")));
            }
        }
        Ok(None)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Record>, redb::Error> {
        Ok(self.tables.current.get(key)?.map(|bytes| decode_current(key, bytes.value())))
    }

    fn put(
        &mut self,
        revision: Revision,
        sub: &mut u32,
        key: &[u8],
        value: &[u8],
        lease: LeaseId,
    ) -> Result<Option<Record>, redb::Error> {
        let previous = self.get(key)?;
        let record = Record {
            key: key.into(),
            value: value.into(),
            created: previous.as_ref().map_or(revision, |previous| previous.created),
            modified: revision,
            version: previous.as_ref().map_or(1, |previous| previous.version + 1),
            lease,
        };
        let old_lease = previous.as_ref().map_or(0, |previous| previous.lease);
        if old_lease != lease {
            if old_lease != 0 {
                self.tables.lease_keys()?.remove((old_lease, key))?;
            }
            if lease != 0 {
                self.tables.lease_keys()?.insert((lease, key), ())?;
            }
        }
        let current = encode_current(&record);
        self.tables.current.insert(key, current.as_slice())?;
        let event = Event { kind: EventKind::Put, sub: *sub, record, previous: previous.clone() };
        self.happened(sub, event, &current)?;
        Ok(previous)
    }

    fn delete(
        &mut self,
        revision: Revision,
        sub: &mut u32,
        range: &KeyRange,
    ) -> Result<Vec<Record>, redb::Error> {
        let mut deleted = Vec::new();
        for entry in self.tables.current.range(range.start.as_slice()..)? {
            let (key, bytes) = entry?;
            if !range.contains(key.value()) {
                break;
            }
            deleted.push(decode_current(key.value(), bytes.value()));
        }
        for previous in &deleted {
            self.tables.current.remove(&previous.key[..])?;
            if previous.lease != 0 {
                self.tables.lease_keys()?.remove((previous.lease, &previous.key[..]))?;
            }
            let record = Record {
                key: Arc::clone(&previous.key),
                value: Arc::default(),
                created: Revision(0),
                modified: revision,
                version: 0,
                lease: 0,
            };
            let event =
                Event { kind: EventKind::Delete, sub: *sub, record, previous: Some(previous.clone()) };
            let current = encode_current(&event.record);
            self.happened(sub, event, &current)?;
        }
        Ok(deleted)
    }

    fn happened(&mut self, sub: &mut u32, event: Event, current: &[u8]) -> Result<(), redb::Error> {
        let place = (event.record.modified.0, *sub);
        self.tables.history.insert(place, encode_event(&event, current).as_slice())?;
        self.events.push(Arc::new(event));
        *sub += 1;
        Ok(())
    }

    // === history ===

    fn compact(&mut self, revision: Revision) -> Result<Reply, redb::Error> {
        let meta = &mut self.tables.meta;
        if revision > meta.revision {
            return Ok(Reply::Refused(format!(
                "revision {revision} is in the future; the store is at {}",
                meta.revision
            )));
        }
        if revision > meta.compacted {
            meta.compacted = revision;
            self.tables.history.retain_in(..=(revision.0, u32::MAX), |_, _| false)?;
        }
        Ok(Reply::Compacted(self.tables.meta.compacted.next()))
    }

    // === leases ===

    fn lease_grant(&mut self, id: LeaseId, ttl_seconds: u64, now_millis: u64) -> Result<Reply, redb::Error> {
        if id == 0 {
            return Ok(Reply::Refused("lease 0 means no lease; choose another id".into()));
        }
        let deadline_millis = now_millis.saturating_add(ttl_seconds.saturating_mul(1000));
        self.tables.leases()?.insert(id, (ttl_seconds, deadline_millis))?;
        Ok(Reply::Lease { id, deadline_millis })
    }

    fn lease_keep_alive(&mut self, id: LeaseId, now_millis: u64) -> Result<Reply, redb::Error> {
        let found = self.tables.leases()?.get(id)?.map(|value| value.value());
        match found {
            Some((ttl_seconds, _)) => self.lease_grant(id, ttl_seconds, now_millis),
            None => Ok(Reply::Refused(format!("requested lease {id} not found"))),
        }
    }

    fn lease_revoke(&mut self, id: LeaseId) -> Result<Reply, redb::Error> {
        let Some(deadline_millis) = self.tables.leases()?.remove(id)?.map(|value| value.value().1) else {
            return Ok(Reply::Refused(format!("requested lease {id} not found")));
        };
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for entry in self.tables.lease_keys()?.range((id, &[][..])..)? {
            let (place, _) = entry?;
            let (lease, key) = place.value();
            if lease != id {
                break;
            }
            keys.push(key.to_vec());
        }
        let revision = self.tables.meta.revision.next();
        let mut sub = 0;
        for key in keys {
            self.delete(revision, &mut sub, &KeyRange::one(key))?;
        }
        if sub > 0 {
            self.tables.meta.revision = revision;
        }
        Ok(Reply::Lease { id, deadline_millis })
    }
}

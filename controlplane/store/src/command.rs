//! Commands: what goes through the log, and their replies.
//!
//! A command is deterministic: applied to the same state it gives the same reply on every member, so
//! it carries the time and any choice that its proposer made.

use serde::{Deserialize, Serialize};

use crate::record::{KeyRange, Record, Revision};

/// A lease; 0 means none.
pub type LeaseId = u64;

/// One change of the state machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Compare, then one of two lists of operations.
    Transaction(Transaction),
    /// Forget history up to and including a revision.
    Compact(Revision),
    /// A new lease, or a new deadline of one that exists.
    LeaseGrant {
        /// Not 0.
        id: LeaseId,
        /// Seconds from `now`.
        ttl_seconds: u64,
        /// The proposer's wall clock, milliseconds since 1970.
        now_millis: u64,
    },
    /// Moves the deadline to `now` plus the lease's time to live.
    LeaseKeepAlive {
        /// The lease.
        id: LeaseId,
        /// The proposer's wall clock, milliseconds since 1970.
        now_millis: u64,
    },
    /// Ends a lease and deletes its keys in one revision.
    LeaseRevoke(LeaseId),
}

/// `if all compares hold { success } else { failure }`, in one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// All must hold.
    pub compare: Vec<Compare>,
    /// Run where they do.
    pub success: Vec<Operation>,
    /// Run where they do not.
    pub failure: Vec<Operation>,
}

impl Transaction {
    /// Writes `key` where its latest version is `expected` (0: where it does not exist); otherwise
    /// tells what is there.
    pub fn put_if(key: Vec<u8>, expected: Revision, value: Vec<u8>, lease: LeaseId) -> Transaction {
        Transaction {
            compare: vec![Compare { key: key.clone(), field: Field::Modified(expected) }],
            failure: vec![Operation::Get(key.clone())],
            success: vec![Operation::Put { key, value, lease }],
        }
    }

    /// Deletes `key` where its latest version is `expected`; otherwise tells what is there.
    pub fn delete_if(key: Vec<u8>, expected: Revision) -> Transaction {
        Transaction {
            compare: vec![Compare { key: key.clone(), field: Field::Modified(expected) }],
            failure: vec![Operation::Get(key.clone())],
            success: vec![Operation::Delete(KeyRange::one(key))],
        }
    }
}

/// A condition on one key. A key that does not exist has 0 everywhere and no value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// The key.
    pub key: Vec<u8>,
    /// The field and what it must equal.
    pub field: Field,
}

/// The fields that a transaction can compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Field {
    /// Revision of the latest version.
    Modified(Revision),
    /// Revision of the first version.
    Created(Revision),
    /// Count of versions.
    Version(u64),
    /// Lease.
    Lease(LeaseId),
    /// The bytes.
    Value(Vec<u8>),
}

/// A step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Write. A key may be written once per transaction.
    Put {
        /// The key.
        key: Vec<u8>,
        /// The value.
        #[serde(with = "serde_bytes")]
        value: Vec<u8>,
        /// The lease it dies with, 0 for none.
        lease: LeaseId,
    },
    /// Delete what exists in the range.
    Delete(KeyRange),
    /// Read one key as the operations before left it.
    Get(Vec<u8>),
}

/// How soon a command must be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// At the next sync.
    Now,
    /// May wait for company: node leases and Events.
    Relaxed,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To a transaction.
    Transaction(TransactionReply),
    /// To a compaction: the oldest revision that can be read now.
    Compacted(Revision),
    /// To a lease command: its deadline in milliseconds since 1970.
    Lease {
        /// The lease.
        id: LeaseId,
        /// When it ends.
        deadline_millis: u64,
    },
    /// The command makes no sense in this state; nothing was changed.
    Refused(String),
}

/// The answer to a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionReply {
    /// The store's revision after it.
    pub revision: Revision,
    /// Whether the compares held.
    pub succeeded: bool,
    /// One per operation that ran.
    pub results: Vec<OperationReply>,
}

/// The answer to an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationReply {
    /// To `Put`: what was there before.
    Put(Option<Record>),
    /// To `Delete`: what was deleted.
    Deleted(Vec<Record>),
    /// To `Get`.
    Got(Option<Record>),
}

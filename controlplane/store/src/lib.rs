//! The store: etcd's semantics over a log that is on disk before the answer.
//!
//! ```text
//!   propose ──► Consensus (log: append, fdatasync) ──► State (redb: apply) ──► ring ──► watchers
//!                                                          ▲
//!   read ──────────────────────────────────────────────────┘
//! ```
//!
//! Keys and values are bytes; what they mean is the API server's business, and so is encryption.
//!
//! **Invariants**
//! - The revision is a counter in the state machine, one per transaction that writes, never the log index.
//! - A reply is given only after its log entry is on disk and applied.
//! - The state database may lag behind the disk at any kill: it is rebuilt from the log.
//! - Time is passed in; nothing here reads a clock except to measure the disk.
//!
//! Reference: etcd v3 API (KV, Watch, Lease); differences are named where they are.

mod command;
mod consensus;
mod health;
mod log;
pub mod raft;
mod record;
mod ring;
mod single;
mod state;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use command::{
    Command, Compare, Field, LeaseId, Operation, OperationReply, Reply, Transaction, TransactionReply,
    Urgency,
};
pub use consensus::{Consensus, ProposeError, Proposed};
pub use health::Health;
pub use log::{LogError, end_of_records};
pub use record::{Event, EventKind, KeyRange, Record, Revision};
pub use single::{SingleMember, SingleOptions};
pub use state::{Page, RangeRequest, ReadError, State, StateError};
pub use watch::{WatchError, Watcher};

/// What keeps a store from opening.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made or locked.
    #[error("store folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process has the store open.
    #[error("store folder {} is in use by another process; stop it first", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The state database cannot be opened or rebuilt.
    #[error(transparent)]
    State(#[from] StateError),
    /// The member of a cluster cannot take part.
    #[error("store folder {}: {reason}", path.display())]
    Raft {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A handle on the store; clones share it.
#[derive(Clone)]
pub struct Store {
    consensus: Arc<dyn Consensus>,
    state: Arc<State>,
    member: Option<Arc<raft::RaftMember>>,
}

impl Store {
    /// Opens a store with one member in `folder`, creating it where it does not exist, and replays
    /// the log into the state.
    pub fn open_single(folder: &Path, options: SingleOptions) -> Result<Store, OpenError> {
        let member = SingleMember::open(folder, options)?;
        let state = member.state().clone();
        Ok(Store { consensus: Arc::new(member), state, member: None })
    }

    /// Opens a member of a cluster; see [`raft::RaftMember::open`].
    pub fn open_member(
        folder: &Path,
        options: raft::RaftOptions,
        wire: raft::Wire,
        join: bool,
    ) -> Result<Store, OpenError> {
        let member = Arc::new(raft::RaftMember::open(folder, options, wire, join)?);
        let state = member.state().clone();
        Ok(Store { consensus: member.clone(), state, member: Some(member) })
    }

    /// A store over any consensus and the state that it applies to.
    pub fn new(consensus: Arc<dyn Consensus>, state: Arc<State>) -> Store {
        Store { consensus, state, member: None }
    }

    /// Runs a transaction; the reply comes after it is on disk.
    pub async fn transact(
        &self,
        transaction: Transaction,
        urgency: Urgency,
    ) -> Result<TransactionReply, ProposeError> {
        match self.consensus.propose(Command::Transaction(transaction), urgency).await? {
            Reply::Transaction(reply) => Ok(reply),
            Reply::Refused(reason) => Err(ProposeError::Refused(reason)),
            other => Err(ProposeError::Refused(format!("a transaction was answered by {other:?}"))),
        }
    }

    /// Runs any other command: compaction and leases.
    pub async fn command(&self, command: Command) -> Result<Reply, ProposeError> {
        match self.consensus.propose(command, Urgency::Now).await? {
            Reply::Refused(reason) => Err(ProposeError::Refused(reason)),
            reply => Ok(reply),
        }
    }

    /// Waits until a read of the state sees everything acknowledged before this call.
    pub async fn barrier(&self) -> Result<(), ProposeError> {
        self.consensus.barrier().await
    }

    /// The state, for reads: `get`, `range`, `revision`, leases.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Events of a key range from a revision on.
    pub fn watch(&self, range: KeyRange, from: Revision) -> Watcher {
        Watcher::new(self.state.clone(), range, from)
    }

    /// The member of a cluster that this is; `None`: a store of one member.
    pub fn member(&self) -> Option<&Arc<raft::RaftMember>> {
        self.member.as_ref()
    }

    /// How the disk does.
    pub fn health(&self) -> Health {
        self.consensus.health()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("revision", &self.state.revision()).finish_non_exhaustive()
    }
}

//! The joint between the store and the log that orders its commands.
//!
//! Two implementations: one member (`single`), and Raft. Both pass `tests/behaviour.rs`.

use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use crate::command::{Command, Reply, Urgency};
use crate::health::Health;

/// The future of a proposal.
pub type Proposed<'a, T> = Pin<Box<dyn Future<Output = Result<T, ProposeError>> + Send + 'a>>;

/// Orders commands, makes them durable, and applies them.
pub trait Consensus: Send + Sync + 'static {
    /// Puts a command into the log; resolves once it is durable and applied. Dropping the future does not
    /// take the command back.
    fn propose(&self, command: Command, urgency: Urgency) -> Proposed<'_, Reply>;

    /// Resolves once the local state contains everything acknowledged before the call.
    fn barrier(&self) -> Proposed<'_, ()>;

    /// How the disk does.
    fn health(&self) -> Health;
}

/// Why a command was not carried out, or why that is unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was changed.
    #[error("the store refused the command: {0}")]
    Refused(String),
    /// A command larger than one log record may be. Nothing was changed.
    #[error("the command has {size} bytes; the store takes {limit} at most")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The disk is full. Nothing was changed; writes work again when there is space.
    #[error("no space left for the store's log: {0}")]
    DiskFull(String),
    /// The log could not be synced, so what the disk holds is unknown until a restart reads it back.
    #[error("the store's log failed and takes no writes until it is restarted: {0}")]
    LogFailed(String),
    /// No member leads, or not enough members answer. Nothing was changed.
    #[error("the store takes no writes now: {0}")]
    Unavailable(String),
    /// The member that was to carry out the command did not answer any more; it may or may not be carried out.
    #[error("whether the store carried out the command is not known: {0}")]
    Unknown(String),
    /// The store is closing; the command may or may not be carried out.
    #[error("the store is closing")]
    Closed,
}

//! How a member reaches another: the joint between Raft and the wire.
//!
//! `tls` is what a server uses. Simulations put their own beneath the same code.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::declared::Peer;
use super::message::{Refusal, Request, Response};

/// The future of a call.
pub type Called<'a> = Pin<Box<dyn Future<Output = Result<Response, CallError>> + Send + 'a>>;

/// Calls that must not wait behind each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Entries.
    Replication,
    /// Heartbeats and votes.
    Heartbeat,
    /// Snapshots.
    Snapshot,
    /// What clients wait for.
    Forward,
}

/// Reaches other members.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request and waits for its answer, at most for `limit`.
    fn call(&self, lane: Lane, to: u64, peer: &Peer, request: Request, limit: Duration) -> Called<'_>;
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The request was not sent.
    #[error("{0}")]
    Unreachable(String),
    /// It was sent, and whether it was carried out is not known.
    #[error("{0}")]
    Lost(String),
    /// The other member refused; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

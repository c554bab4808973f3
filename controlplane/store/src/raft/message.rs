//! What members say to each other. Version 1.
//!
//! ```text
//!   hello     "KEELPEER" | version u32 | cluster u64 | from u64 | to u64      answered by one byte and a sentence
//!   request   length u32 | id u64 | postcard of Request
//!   answer    length u32 | id u64 | postcard of Result<Response, Refusal>
//! ```
//!
//! **Invariants**
//! - Variants are only added at the end; a version is kept for one release beyond its successor.
//! - No length is believed beyond its limit.

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, VoteRequest,
    VoteResponse,
};
use serde::{Deserialize, Serialize};

use super::declared::{Payload, SnapshotMeta, TypeConfig, Vote};
use super::members::{Change, Status};
use crate::command::Reply;
use crate::consensus::ProposeError;

/// The version that this code speaks.
pub const VERSION: u32 = 1;
/// The largest frame: entries of one message, or one record beyond their limit.
pub const FRAME_LIMIT: usize = 14 << 20;

/// What a member asks of another.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Entries, or a heartbeat.
    Append(AppendEntriesRequest<TypeConfig>),
    /// A vote.
    Vote(VoteRequest<TypeConfig>),
    /// Whether a vote would be granted.
    PreVote(VoteRequest<TypeConfig>),
    /// Become the leader.
    TransferLeader(TransferLeaderRequest<TypeConfig>),
    /// A piece of a snapshot.
    Snapshot(Piece),
    /// Carry out a command: the sender has it from its own API.
    Propose {
        /// The encoded command.
        command: Payload,
        /// It may wait for company.
        relaxed: bool,
    },
    /// How far the log is committed, after a quorum said that the asked one leads.
    ReadIndex,
    /// Change who the members are.
    Change(Change),
    /// How this member does.
    Status,
    /// The next piece of a snapshot of this member's state, for a file.
    Fetch {
        /// Which; 0: a new one.
        transfer: u64,
    },
}

/// A piece of a snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub struct Piece {
    /// Which transfer it belongs to.
    pub transfer: u64,
    /// Its position, from 0.
    pub sequence: u64,
    /// The bytes.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    /// With the last piece: the leader's vote and what the snapshot stands for.
    pub end: Option<(Vote, SnapshotMeta)>,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Response {
    /// To `Append`.
    Append(AppendEntriesResponse<TypeConfig>),
    /// To `Vote` and `PreVote`.
    Vote(VoteResponse<TypeConfig>),
    /// To `TransferLeader`.
    TransferLeader(openraft::raft::TransferLeaderResponse<TypeConfig>),
    /// To the last piece of a snapshot.
    Installed(SnapshotResponse<TypeConfig>),
    /// To any other piece.
    Taken,
    /// To `Propose`: the reply, and the entry's index.
    Proposed(Result<(Reply, u64), ProposeError>),
    /// To `ReadIndex`: what must be applied before reading.
    ReadIndex(u64),
    /// To `Change`: the index of its last entry.
    Changed(u64),
    /// To `Status`.
    Status(Box<Status>),
    /// To `Fetch`.
    Fetched {
        /// What to ask for next.
        transfer: u64,
        /// `None`: it is whole.
        bytes: Option<serde_bytes::ByteBuf>,
    },
}

/// Why a member did not do what was asked; nothing was changed by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Another one leads, or nobody.
    #[error("this member does not lead")]
    NotLeader {
        /// Who does, as far as it is known.
        leader: Option<u64>,
    },
    /// Something else; a sentence.
    #[error("{0}")]
    Failed(String),
}

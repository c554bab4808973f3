//! What openraft is told about us: the types of a log entry, of a member and of an answer.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::command::Reply;

openraft::declare_raft_types!(
    /// The types of our Raft.
    pub TypeConfig:
        D = Payload,
        R = Answer,
        NodeId = u64,
        Node = Peer,
        AsyncRuntime = openraft_rt_tokio::TokioRuntime,
);

pub(super) type Raft = openraft::Raft<TypeConfig, super::machine::Machine>;
pub(super) type Entry = <TypeConfig as openraft::RaftTypeConfig>::Entry;
pub(super) type LeaderId = <TypeConfig as openraft::RaftTypeConfig>::LeaderId;
pub(super) type LogId = openraft::LogId<LeaderId>;
pub(super) type Vote = <TypeConfig as openraft::RaftTypeConfig>::Vote;
pub(super) type Membership = openraft::Membership<u64, Peer>;
pub(super) type StoredMembership = openraft::StoredMembership<LeaderId, u64, Peer>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<LeaderId, u64, Peer>;
pub(super) type Snapshot = openraft::Snapshot<LeaderId, u64, Peer, super::snapshot::SnapshotData>;

/// A member as others reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its node's name; for people.
    pub name: String,
    /// Address and port of its peer listener.
    pub address: String,
}

/// An encoded command; decoded only where it is applied.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(pub(super) Arc<[u8]>);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Serialize for Payload {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Payload, D::Error> {
        crate::record::shared_bytes::deserialize(deserializer).map(Payload)
    }
}

/// The answer to an entry; entries without a command have none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer(pub(super) Option<Reply>);

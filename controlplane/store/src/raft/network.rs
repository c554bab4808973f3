//! Raft's own messages to other members, over any transport.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{RaftNetworkFactory, RaftNetworkV2};
use tokio::sync::mpsc;

use super::declared::{Peer, Snapshot, SnapshotMeta, TypeConfig, Vote};
use super::message::{Piece, Request, Response};
use super::snapshot::{Encoder, SnapshotData};
use super::transport::{CallError, Lane, Transport};

/// How long a member may take for a piece of a snapshot.
const PIECE_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take to install it.
const INSTALL_LIMIT: Duration = Duration::from_secs(600);
/// Pieces read ahead of the wire.
const PIECES_AHEAD: usize = 2;

/// Makes a [`Link`] per member and lane.
pub(super) struct Links {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) transfers: Arc<AtomicU64>,
}

/// The way to one member.
pub(super) struct Link {
    transport: Arc<dyn Transport>,
    transfers: Arc<AtomicU64>,
    lane: Lane,
    to: u64,
    peer: Peer,
}

impl Links {
    fn link(&self, lane: Lane, to: u64, peer: &Peer) -> Link {
        let (transport, transfers) = (self.transport.clone(), self.transfers.clone());
        Link { transport, transfers, lane, to, peer: peer.clone() }
    }
}

impl RaftNetworkFactory<TypeConfig> for Links {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &Peer) -> Link {
        self.link(Lane::Replication, target, node)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Peer) -> Link {
        self.link(Lane::Heartbeat, target, node)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Peer) -> Link {
        self.link(Lane::Snapshot, target, node)
    }
}

impl Link {
    async fn call(&self, request: Request, limit: Duration) -> Result<Response, RPCError<TypeConfig>> {
        self.transport.call(self.lane, self.to, &self.peer, request, limit).await.map_err(|error| {
            let told = io::Error::other(format!("member {:x} at {}: {error}", self.to, self.peer.address));
            match error {
                CallError::Unreachable(_) => RPCError::Unreachable(Unreachable::new(&told)),
                CallError::Lost(_) | CallError::Refused(_) => RPCError::Network(NetworkError::new(&told)),
            }
        })
    }

    async fn piece(&self, piece: Piece, limit: Duration) -> Result<Response, StreamingError<TypeConfig>> {
        Ok(self.call(Request::Snapshot(piece), limit).await?)
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        meta: SnapshotMeta,
        mut encoder: Encoder,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let transfer = self.transfers.fetch_add(1, Ordering::Relaxed);
        let (pieces, mut queue) = mpsc::channel::<io::Result<Vec<u8>>>(PIECES_AHEAD);
        let reader = tokio::task::spawn_blocking(move || {
            loop {
                let piece = match encoder.piece() {
                    Ok(Some(piece)) => Ok(piece),
                    Ok(None) => return,
                    Err(error) => Err(error),
                };
                let failed = piece.is_err();
                if pieces.blocking_send(piece).is_err() || failed {
                    return;
                }
            }
        });
        let mut sequence = 0;
        while let Some(piece) = queue.recv().await {
            let bytes = piece.map_err(|error| StreamingError::Network(NetworkError::new(&error)))?;
            self.piece(Piece { transfer, sequence, bytes, end: None }, PIECE_LIMIT).await?;
            sequence += 1;
        }
        reader.await.map_err(|error| StreamingError::Network(NetworkError::new(&error)))?;
        let end = Piece { transfer, sequence, bytes: Vec::new(), end: Some((vote, meta)) };
        match self.piece(end, INSTALL_LIMIT).await? {
            Response::Installed(response) => Ok(response),
            other => Err(StreamingError::from(unexpected(&other))),
        }
    }
}

fn unexpected(response: &Response) -> RPCError<TypeConfig> {
    let told = io::Error::other(format!("another member gave an answer to something else: {response:?}"));
    RPCError::Network(NetworkError::new(&told))
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.call(Request::Append(rpc), option.hard_ttl()).await? {
            Response::Append(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.call(Request::Vote(rpc), option.hard_ttl()).await? {
            Response::Vote(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.call(Request::PreVote(rpc), option.hard_ttl()).await? {
            Response::Vote(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.call(Request::TransferLeader(req), option.hard_ttl()).await? {
            Response::TransferLeader(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let SnapshotData::Live(dump) = snapshot.snapshot else {
            let told = io::Error::other("only a member's own state is sent as a snapshot");
            return Err(StreamingError::Network(NetworkError::new(&told)));
        };
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot.meta, Encoder::new(dump)) => sent,
        }
    }
}

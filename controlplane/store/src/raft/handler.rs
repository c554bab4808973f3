//! What a member does when another one asks.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::Inner;
use super::declared::Snapshot;
use super::machine::log_id;
use super::member_file::Promise;
use super::message::{Piece, Refusal, Request, Response};
use super::snapshot::{Encoder, SnapshotData, open_file};
use crate::consensus::ProposeError;

/// Answers other members.
#[derive(Clone)]
pub struct Handler(pub(super) Arc<Inner>);

/// A snapshot that is being received.
#[derive(Debug)]
pub(super) struct Incoming {
    transfer: u64,
    next: u64,
    file: tempfile::NamedTempFile,
}

/// That this member fails or closes is not the asking one's trouble; what became of the command is.
pub(super) fn not_known(error: ProposeError) -> ProposeError {
    match error {
        ProposeError::LogFailed(_) | ProposeError::Closed => ProposeError::Unknown(error.to_string()),
        other => other,
    }
}

impl std::fmt::Debug for Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Handler").field(&self.0.id).finish()
    }
}

impl Handler {
    /// Whether a member of `cluster` that looks for `to` is right here.
    pub fn greet(&self, cluster: u64, to: u64) -> Result<(), String> {
        let inner = &self.0;
        if to != inner.id && to != 0 {
            return Err(format!("this is member {:x}, not {to:x}", inner.id));
        }
        let ours = inner.cluster.load(Ordering::Acquire);
        if cluster == 0 || cluster == ours {
            return Ok(());
        }
        if ours != 0 {
            return Err(format!("this is a member of cluster {ours:x}, not of {cluster:x}"));
        }
        // A new member learns its cluster from the first one that has its certificates and knows its number.
        let mut file = inner.shared.file();
        let promise = Promise { cluster, ..file.promise() };
        file.write(promise).map_err(|error| format!("{}: {error}", file.path().display()))?;
        inner.cluster.store(cluster, Ordering::Release);
        Ok(())
    }

    /// Carries out a request.
    pub async fn handle(&self, request: Request) -> Result<Response, Refusal> {
        let inner = &self.0;
        let failed = |error: &dyn std::fmt::Display| Refusal::Failed(error.to_string());
        match request {
            Request::Append(rpc) => {
                inner.raft.append_entries(rpc).await.map(Response::Append).map_err(|error| failed(&error))
            }
            Request::Vote(rpc) => {
                inner.raft.vote(rpc).await.map(Response::Vote).map_err(|error| failed(&error))
            }
            Request::PreVote(rpc) => {
                inner.raft.pre_vote(rpc).await.map(Response::Vote).map_err(|error| failed(&error))
            }
            Request::TransferLeader(rpc) => inner
                .raft
                .handle_transfer_leader(rpc)
                .await
                .map(Response::TransferLeader)
                .map_err(|error| failed(&error)),
            Request::Snapshot(piece) => self.snapshot(piece).await,
            Request::Propose { command, relaxed } => {
                inner.company(relaxed).await;
                let proposed = inner.propose_here(command).await?;
                Ok(Response::Proposed(proposed.map_err(not_known)))
            }
            Request::ReadIndex => inner.read_index().await.map(Response::ReadIndex),
            Request::Change(change) => inner.change(change).await.map(Response::Changed),
            Request::Status => Ok(Response::Status(Box::new(inner.status()))),
            Request::Fetch { transfer } => self.fetch(transfer).await,
        }
    }

    /// One snapshot at a time goes out to a file: a new one ends the one before it.
    async fn fetch(&self, transfer: u64) -> Result<Response, Refusal> {
        let inner = self.0.clone();
        let fetched = tokio::task::spawn_blocking(move || -> Result<Response, String> {
            let mut outgoing = inner.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
            if transfer == 0 {
                let dump = inner.state.dump().map_err(|error| error.to_string())?;
                let next = outgoing.as_ref().map_or(1, |(transfer, _)| transfer + 1);
                *outgoing = Some((next, Encoder::new(Box::new(dump))));
            }
            match outgoing.as_mut() {
                Some((found, encoder)) if transfer == 0 || *found == transfer => {
                    let piece = encoder.piece().map_err(|error| error.to_string())?;
                    let transfer = *found;
                    if piece.is_none() {
                        *outgoing = None;
                    }
                    Ok(Response::Fetched { transfer, bytes: piece.map(serde_bytes::ByteBuf::from) })
                }
                _ => Err("another snapshot was begun meanwhile; try again".into()),
            }
        });
        fetched.await.map_err(|error| Refusal::Failed(error.to_string()))?.map_err(Refusal::Failed)
    }

    async fn snapshot(&self, piece: Piece) -> Result<Response, Refusal> {
        let failed = |error: std::io::Error| Refusal::Failed(format!("taking a snapshot: {error}"));
        let Piece { transfer, sequence, bytes, end } = piece;
        let whole = {
            let mut incoming = self.0.incoming.lock().unwrap_or_else(PoisonError::into_inner);
            if sequence == 0 {
                // A transfer that was begun before is over; its file goes with it.
                let file = tempfile::Builder::new()
                    .prefix(super::RECEIVING)
                    .tempfile_in(&self.0.folder)
                    .map_err(failed)?;
                *incoming = Some(Incoming { transfer, next: 0, file });
            }
            let Some(found) =
                incoming.as_mut().filter(|found| (found.transfer, found.next) == (transfer, sequence))
            else {
                return Err(Refusal::Failed("a piece of a snapshot came out of turn".into()));
            };
            found.next += 1;
            found.file.write_all(&bytes).map_err(failed)?;
            if end.is_some() { incoming.take() } else { None }
        };
        let (Some(whole), Some((vote, meta))) = (whole, end) else { return Ok(Response::Taken) };
        let checked = tokio::task::spawn_blocking(move || {
            let mut decoder = open_file(whole.file.path())?;
            while decoder.part()?.is_some() {}
            Ok::<_, String>((decoder.header().place, whole.file))
        });
        let (place, file) =
            checked.await.map_err(|error| Refusal::Failed(error.to_string()))?.map_err(Refusal::Failed)?;
        if log_id(place) != meta.last_log_id {
            return Err(Refusal::Failed("a snapshot does not stand for what was said of it".into()));
        }
        let snapshot = Snapshot { meta, snapshot: SnapshotData::File(file) };
        let installed = self.0.raft.install_full_snapshot(vote, snapshot).await;
        installed.map(Response::Installed).map_err(|error| Refusal::Failed(error.to_string()))
    }
}

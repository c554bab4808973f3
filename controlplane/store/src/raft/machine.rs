//! The state machine as openraft sees it: batches of committed entries go to the store's state.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::vote::RaftLeaderId as _;
use openraft::{EntryPayload, RaftSnapshotBuilder};

use super::applier::Applier;
use super::declared::{LeaderId, LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};
use super::snapshot::{SnapshotData, open_file};
use crate::state::{Place, State, StateError};

/// Entries applied in one commit.
const BATCH_ENTRIES: usize = 1024;

/// The state and who may build snapshots of it.
pub(crate) struct Machine {
    state: Arc<State>,
    membership: StoredMembership,
    /// A flush is under way.
    flushing: Arc<AtomicBool>,
    applier: Applier,
}

impl Machine {
    pub(super) fn new(state: Arc<State>, applier: Applier) -> Result<Machine, String> {
        let (_, membership) = state.place().map_err(|error| error.to_string())?;
        let membership = match membership {
            Some(bytes) => postcard::from_bytes(&bytes).map_err(|error| error.to_string())?,
            None => StoredMembership::default(),
        };
        Ok(Machine { state, membership, flushing: Arc::default(), applier })
    }

    fn applied(&self) -> io::Result<Option<LogId>> {
        let (place, _) = self.state.place().map_err(io::Error::other)?;
        Ok(log_id(place))
    }

    /// Takes over the last membership of a batch; gives it encoded.
    fn latest_membership(&mut self, batch: &[EntryResponder<TypeConfig>]) -> io::Result<Option<Vec<u8>>> {
        let latest = batch.iter().rev().find_map(|(entry, _)| match &entry.payload {
            EntryPayload::Membership(members) => Some((entry.log_id, members)),
            EntryPayload::Blank | EntryPayload::Normal(_) => None,
        });
        let Some((at, members)) = latest else { return Ok(None) };
        self.membership = StoredMembership::new(Some(at), members.clone());
        postcard::to_stdvec(&self.membership).map(Some).map_err(io::Error::other)
    }
}

pub(super) fn place(log_id: &LogId) -> Place {
    Place { index: log_id.index, term: log_id.leader_id.term, leader: log_id.leader_id.node_id }
}

/// The entry at a place; `None` where nothing of a Raft log was applied.
pub(super) fn log_id(place: Place) -> Option<LogId> {
    (place.term > 0).then(|| LogId { leader_id: LeaderId::new(place.term, place.leader), index: place.index })
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Flush;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied()?, self.membership.clone()))
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        let mut batches = entries.ready_chunks(BATCH_ENTRIES);
        while let Some(batch) = batches.next().await {
            let batch = batch.into_iter().collect::<io::Result<Vec<_>>>()?;
            let membership = self.latest_membership(&batch)?;
            self.applier.apply(batch, membership).await?;
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Flush> {
        if self.flushing.swap(true, Ordering::AcqRel) && !force {
            return None;
        }
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Flush {
        Flush {
            state: self.state.clone(),
            flushing: self.flushing.clone(),
            membership: self.membership.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let SnapshotData::File(file) = snapshot else {
            // Openraft offers our own state back to us at start where it is ahead of what was applied: never.
            return Err(io::Error::other("a snapshot of this member's own state cannot be installed"));
        };
        tokio::task::block_in_place(|| {
            let mut decoder = open_file(file.path()).map_err(io::Error::other)?;
            let header = decoder.header().clone();
            self.state.load(&header, || decoder.part()).map_err(io::Error::other)
        })?;
        self.membership = meta.last_membership.clone();
        tracing::info!(
            revision = self.state.revision().0,
            "the store's state was taken over from its leader"
        );
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        // It waits for the writer.
        let dump = tokio::task::block_in_place(|| self.state.dump()).map_err(io::Error::other)?;
        snapshot_of(Box::new(dump))
    }
}

fn snapshot_of(dump: Box<crate::state::Dump>) -> io::Result<Option<Snapshot>> {
    let header = dump.header();
    let Some(last) = log_id(header.place) else { return Ok(None) };
    let last_membership = match &header.membership {
        Some(bytes) => postcard::from_bytes(bytes).map_err(io::Error::other)?,
        None => StoredMembership::default(),
    };
    let meta = SnapshotMeta { last_log_id: Some(last), last_membership };
    Ok(Some(Snapshot { meta, snapshot: SnapshotData::Live(dump) }))
}

/// Puts the state on disk; that is all a snapshot of it needs, since the log before it can go then.
pub(crate) struct Flush {
    state: Arc<State>,
    flushing: Arc<AtomicBool>,
    membership: StoredMembership,
}

impl RaftSnapshotBuilder<TypeConfig> for Flush {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let state = self.state.clone();
        // The dump first: what it holds is on disk after the flush.
        let flushed = tokio::task::spawn_blocking(move || {
            let dump = state.dump()?;
            state.flush()?;
            Ok::<_, StateError>(dump)
        });
        let flushed = flushed.await.map_err(io::Error::other)?;
        self.flushing.store(false, Ordering::Release);
        let snapshot = snapshot_of(Box::new(flushed.map_err(io::Error::other)?))?;
        snapshot.ok_or_else(|| {
            io::Error::other(format!("nothing was applied yet to a log of {}", self.membership))
        })
    }
}

/// Joins a thread of the store.
pub(super) fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the store panicked");
    }
}

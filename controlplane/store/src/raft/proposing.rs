//! Commands and reads of this member's own users: carried out here where it leads, else by the leader.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, RaftError};
use tokio::time::Instant;

use super::Inner;
use super::declared::{Answer, LogId, Payload, Peer, TypeConfig};
use super::members::Change;
use super::message::{Refusal, Request, Response};
use super::transport::{CallError, Lane};
use crate::command::{Command, Reply, Urgency};
use crate::consensus::ProposeError;
use crate::log::RECORD_LIMIT;

/// How long a command waits for a member that leads.
const LEADER_WAIT: Duration = Duration::from_secs(5);
/// How long the leader may take to carry it out: then its fate is not known.
pub(super) const CARRY_OUT_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to ask a majority whether it still leads.
const READ_LIMIT: Duration = Duration::from_secs(2);
/// How long it may take to change the membership.
const CHANGE_LIMIT: Duration = Duration::from_secs(90);
/// How long the change of leaders is left alone before another look.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// What a record needs beyond the command.
const RECORD_OVERHEAD: usize = 64;

/// Reads that wait for the same round of asking who leads.
#[derive(Debug, Default)]
pub(super) struct Reads {
    asked: AtomicU64,
    answered: tokio::sync::Mutex<u64>,
}

/// What only the leader can do.
enum Wanted {
    /// A command, and whether it may wait for company.
    Command(Payload, bool),
    ReadIndex,
    Change(Change),
}

/// It is done.
struct Done {
    reply: Option<Reply>,
    /// What must be applied to see it.
    index: u64,
}

/// One attempt.
enum Attempt {
    Done(Result<Done, ProposeError>),
    /// Nothing was changed; another member may lead now.
    Again(String),
}

impl Inner {
    pub(super) async fn propose(&self, command: Command, urgency: Urgency) -> Result<Reply, ProposeError> {
        let payload =
            postcard::to_stdvec(&command).map_err(|error| ProposeError::Refused(error.to_string()))?;
        if payload.len() + RECORD_OVERHEAD > RECORD_LIMIT {
            return Err(ProposeError::TooLarge {
                size: payload.len(),
                limit: RECORD_LIMIT - RECORD_OVERHEAD,
            });
        }
        let weight = u32::try_from(payload.len() / 1024 + 1).unwrap_or(u32::MAX);
        let places = self.places.clone();
        let _place = places.acquire_many_owned(weight).await.map_err(|_| ProposeError::Closed)?;
        let relaxed = urgency == Urgency::Relaxed;
        match self.with_leader(&Wanted::Command(Payload(payload.into()), relaxed)).await? {
            Done { reply: Some(reply), index } => {
                self.applied(index).await?;
                Ok(reply)
            }
            Done { .. } => Err(ProposeError::Unknown("its entry had no command".into())),
        }
    }

    /// Gives up where the member stops meanwhile.
    pub(super) async fn while_open<T>(
        &self,
        work: impl Future<Output = Result<T, ProposeError>>,
    ) -> Result<T, ProposeError> {
        self.stopped.run_until_cancelled(work).await.unwrap_or(Err(ProposeError::Closed))
    }

    /// Lets a relaxed proposal wait for an urgent one, which shares its sync with it.
    pub(super) async fn company(&self, relaxed: bool) {
        if relaxed {
            // Whichever comes first.
            let _ = tokio::time::timeout(self.relaxed_delay, self.urgent.notified()).await;
        } else {
            self.urgent.notify_waiters();
        }
    }

    /// Carries out a command on this member, which must lead. The reply comes with its entry's index.
    pub(super) async fn propose_here(
        &self,
        payload: Payload,
    ) -> Result<Result<(Reply, u64), ProposeError>, Refusal> {
        if let Some(reason) = self.shared.gauge.why_full() {
            return Ok(Err(ProposeError::DiskFull(reason)));
        }
        let written = tokio::time::timeout(CARRY_OUT_LIMIT, self.raft.client_write(payload)).await;
        match written {
            Ok(written) => outcome(written.map(|done| (done.data, done.log_id))),
            Err(_) => Ok(Err(too_late())),
        }
    }

    /// Waits until everything acknowledged before this call is applied here. Nothing is written for it.
    pub(super) async fn barrier(&self) -> Result<(), ProposeError> {
        let ticket = self.reads.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut answered = self.reads.answered.lock().await;
        if *answered >= ticket {
            // A round that began after this call was answered meanwhile.
            return Ok(());
        }
        let covers = self.reads.asked.load(Ordering::Acquire);
        let done = self.with_leader(&Wanted::ReadIndex).await?;
        self.applied(done.index).await?;
        *answered = covers;
        Ok(())
    }

    /// What must be applied to read everything acknowledged so far; only the leader knows, and asks a majority first.
    pub(super) async fn read_index(&self) -> Result<u64, Refusal> {
        match self.raft.get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((at, _)) => Ok(at.log_id().index),
            Err(RaftError::APIError(openraft::errors::LinearizableReadError::ForwardToLeader(forward))) => {
                Err(Refusal::NotLeader { leader: forward.leader_id })
            }
            Err(error) => Err(Refusal::Failed(error.to_string())),
        }
    }

    pub(super) async fn change_anywhere(&self, change: Change) -> Result<(), ProposeError> {
        let done = self.with_leader(&Wanted::Change(change)).await?;
        self.applied(done.index).await
    }

    /// Tries with whoever leads (`None`: this member) until one does it, for a bounded time.
    async fn with_leader(&self, wanted: &Wanted) -> Result<Done, ProposeError> {
        let deadline = Instant::now() + LEADER_WAIT;
        let mut metrics = self.raft.metrics();
        loop {
            let (leader, running) = {
                let now = metrics.borrow_watched();
                let peer = |id| now.membership_config.membership().get_node(&id).cloned();
                let leader = now.current_leader.map(|id| (id, if id == self.id { None } else { peer(id) }));
                (leader, now.running_state.clone())
            };
            if let Err(fatal) = running {
                return Err(ProposeError::LogFailed(fatal.to_string()));
            }
            let reason = match leader {
                Some((id, _)) if id == self.id => match self.attempt(wanted).await {
                    Attempt::Done(outcome) => return outcome,
                    Attempt::Again(reason) => reason,
                },
                Some((id, Some(peer))) => match self.ask(wanted, id, &peer).await {
                    Attempt::Done(outcome) => return outcome,
                    Attempt::Again(reason) => reason,
                },
                _ => "no member leads: not enough of them answer".to_owned(),
            };
            if Instant::now() >= deadline {
                return Err(ProposeError::Unavailable(reason));
            }
            // A change of the leader is told; that the same one can do it now is not.
            let _ = tokio::time::timeout(LOOK_AGAIN, metrics.changed()).await;
        }
    }

    /// This member leads: it does it itself.
    async fn attempt(&self, wanted: &Wanted) -> Attempt {
        match wanted {
            Wanted::Command(payload, relaxed) => {
                self.company(*relaxed).await;
                match self.propose_here(payload.clone()).await {
                    // Nothing was changed, and another member will lead that has space.
                    Ok(Err(ProposeError::DiskFull(reason))) if self.has_others() => {
                        Attempt::Again(format!("the leader's disk is full: {reason}"))
                    }
                    Ok(outcome) => {
                        Attempt::Done(outcome.map(|(reply, index)| Done { reply: Some(reply), index }))
                    }
                    Err(refusal) => Attempt::Again(refusal.to_string()),
                }
            }
            Wanted::ReadIndex => match self.read_index().await {
                Ok(index) => Attempt::Done(Ok(Done { reply: None, index })),
                Err(refusal) => Attempt::Again(refusal.to_string()),
            },
            Wanted::Change(change) => match self.change(change.clone()).await {
                Ok(index) => Attempt::Done(Ok(Done { reply: None, index })),
                Err(Refusal::Failed(reason)) => Attempt::Done(Err(ProposeError::Refused(reason))),
                Err(refusal) => Attempt::Again(refusal.to_string()),
            },
        }
    }

    /// Another member leads: it is asked.
    async fn ask(&self, wanted: &Wanted, id: u64, peer: &Peer) -> Attempt {
        let (request, limit) = match wanted {
            Wanted::Command(payload, relaxed) => (
                Request::Propose { command: payload.clone(), relaxed: *relaxed },
                CARRY_OUT_LIMIT + LOOK_AGAIN,
            ),
            Wanted::ReadIndex => (Request::ReadIndex, READ_LIMIT),
            Wanted::Change(change) => (Request::Change(change.clone()), CHANGE_LIMIT),
        };
        // A leader that stands still answers nobody: once another one leads there is nothing to wait for. But of a
        // transfer that is what is wanted, and it is answered.
        let overtaken = async {
            match wanted {
                Wanted::Change(Change::Transfer { .. }) => std::future::pending().await,
                _ => self.another_leads(id).await,
            }
        };
        let answer = tokio::select! {
            answer = self.transport.call(Lane::Forward, id, peer, request, limit) => answer,
            () = overtaken => Err(CallError::Lost("another member leads now".into())),
        };
        match (answer, wanted) {
            (Ok(Response::Proposed(Err(ProposeError::DiskFull(reason)))), Wanted::Command(..)) => {
                Attempt::Again(format!("the leader's disk is full: {reason}"))
            }
            (Ok(Response::Proposed(outcome)), Wanted::Command(..)) => {
                Attempt::Done(outcome.map(|(reply, index)| Done { reply: Some(reply), index }))
            }
            (Ok(Response::ReadIndex(index)), Wanted::ReadIndex)
            | (Ok(Response::Changed(index)), Wanted::Change(_)) => {
                Attempt::Done(Ok(Done { reply: None, index }))
            }
            (Ok(other), _) => Attempt::Done(Err(ProposeError::Unknown(format!("answered by {other:?}")))),
            (Err(CallError::Refused(Refusal::Failed(reason))), Wanted::Change(_)) => {
                Attempt::Done(Err(ProposeError::Refused(reason)))
            }
            // A read can be tried again whatever became of it.
            (Err(CallError::Lost(reason)), Wanted::ReadIndex) => Attempt::Again(reason),
            (Err(CallError::Lost(reason)), _) => Attempt::Done(Err(ProposeError::Unknown(reason))),
            (Err(error), _) => Attempt::Again(error.to_string()),
        }
    }

    /// Waits until another member than `id` leads.
    async fn another_leads(&self, id: u64) {
        let mut metrics = self.raft.server_metrics();
        while metrics.borrow_watched().current_leader.is_none_or(|leader| leader == id) {
            if metrics.changed().await.is_err() {
                // Raft has ended; so does what waits here.
                return;
            }
        }
    }

    /// Waits until this member has applied an entry.
    async fn applied(&self, index: u64) -> Result<(), ProposeError> {
        if self.state.applied() >= index {
            return Ok(());
        }
        let mut applied = self.state.applied_progress();
        let waited =
            tokio::time::timeout(CARRY_OUT_LIMIT, applied.wait_for(|applied| *applied >= index)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ProposeError::Closed),
            Err(_) => Err(ProposeError::Unknown(
                "it is carried out, but this member is cut off and does not know what it changed".into(),
            )),
        }
    }
}

/// What Raft's answer means for a command.
pub(super) fn outcome(
    written: Result<(Answer, LogId), RaftError<TypeConfig, ClientWriteError<TypeConfig>>>,
) -> Result<Result<(Reply, u64), ProposeError>, Refusal> {
    match written {
        Ok((Answer(Some(reply)), at)) => Ok(Ok((reply, at.index))),
        Ok((Answer(None), _)) => Ok(Err(ProposeError::Unknown("its entry had no command".into()))),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
            Err(Refusal::NotLeader { leader: forward.leader_id })
        }
        Err(RaftError::APIError(error)) => Ok(Err(ProposeError::Unknown(error.to_string()))),
        Err(RaftError::Fatal(Fatal::Stopped)) => Ok(Err(ProposeError::Closed)),
        Err(RaftError::Fatal(error)) => Ok(Err(ProposeError::LogFailed(error.to_string()))),
    }
}

/// A command that a majority did not take in time.
pub(super) fn too_late() -> ProposeError {
    let limit = CARRY_OUT_LIMIT.as_secs();
    ProposeError::Unknown(format!("no majority had it on disk within {limit} seconds"))
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("id", &self.id).finish_non_exhaustive()
    }
}

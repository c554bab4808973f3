//! Who the members are, and changing it: one change at a time, learners first.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::ServerState;
use serde::{Deserialize, Serialize};

use super::Inner;
use super::declared::{Membership, Peer};
use super::message::Refusal;
use crate::health::Health;
use crate::record::Revision;

/// Members at most: more make every write slower and nothing safer.
pub const MEMBERS_LIMIT: usize = 7;
/// How far a learner may be behind to become a voter.
const PROMOTE_LAG: u64 = 1000;
/// How long a change may take.
const CHANGE_LIMIT: Duration = Duration::from_secs(60);

/// A change of the membership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A new member that has no vote yet, or another address of one.
    AddLearner {
        /// Its number.
        id: u64,
        /// Where it is.
        peer: Peer,
    },
    /// A learner that has caught up gets a vote.
    Promote {
        /// Its number.
        id: u64,
    },
    /// A member leaves.
    Remove {
        /// Its number.
        id: u64,
    },
    /// Another member shall lead.
    Transfer {
        /// Its number.
        to: u64,
    },
}

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// It orders all commands.
    Leader,
    /// It follows one and has a vote.
    Follower,
    /// It wants to lead.
    Candidate,
    /// It follows and has no vote.
    Learner,
    /// It takes no part: its log failed or it is closing.
    Stopped,
}

/// How a member does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The member that says so.
    pub id: u64,
    /// Its cluster.
    pub cluster: u64,
    /// What it does.
    pub role: Role,
    /// The current term.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<u64>,
    /// The last entry of its log.
    pub last: u64,
    /// The last entry that it applied.
    pub applied: u64,
    /// The revision of the latest write that it applied.
    pub revision: Revision,
    /// All members, as it knows them.
    pub members: Vec<Member>,
    /// Syncs of its log, and the latest and slowest of them in microseconds.
    pub syncs: u64,
    /// The latest.
    pub last_sync_micros: u64,
    /// The slowest.
    pub slowest_sync_micros: u64,
    /// Its log failed: it takes no part until it is restarted.
    pub failed: bool,
    /// Its disk is full: it waits for space.
    pub full: bool,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its number.
    pub id: u64,
    /// Where it is.
    pub peer: Peer,
    /// Whether it has a vote.
    pub voter: bool,
    /// Entries that it is known to have; told by the leader only.
    pub matched: Option<u64>,
}

impl Inner {
    /// How this member does.
    pub(super) fn status(&self) -> Status {
        let metrics = self.metrics();
        let Health { syncs, last_sync, slowest_sync, failed, full, .. } = self.shared.gauge.read();
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let role = match metrics.state {
            _ if metrics.running_state.is_err() || failed => Role::Stopped,
            ServerState::Leader => Role::Leader,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Learner => Role::Learner,
            ServerState::Shutdown => Role::Stopped,
        };
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let matched = |id: &u64| {
            let replication = metrics.replication.as_ref()?;
            if *id == self.id {
                metrics.last_log_index
            } else {
                replication.get(id)?.as_ref().map(|at| at.index)
            }
        };
        let members = membership
            .nodes()
            .map(|(id, peer)| Member {
                id: *id,
                peer: peer.clone(),
                voter: voters.contains(id),
                matched: matched(id),
            })
            .collect();
        Status {
            id: self.id,
            cluster: self.cluster.load(std::sync::atomic::Ordering::Acquire),
            role,
            term: metrics.current_term,
            leader: metrics.current_leader,
            last: metrics.last_log_index.unwrap_or(0),
            applied: self.state.applied(),
            revision: self.state.revision(),
            members,
            syncs,
            last_sync_micros: micros(last_sync),
            slowest_sync_micros: micros(slowest_sync),
            failed,
            full,
        }
    }

    /// Carries out a change; only the leader can. Gives the index of its last entry.
    pub(super) async fn change(&self, change: Change) -> Result<u64, Refusal> {
        let leader = self.metrics().current_leader;
        if leader != Some(self.id) {
            return Err(Refusal::NotLeader { leader });
        }
        // One at a time: two at once could leave two majorities that do not meet.
        let _turn = self.changing.lock().await;
        let membership = self.metrics().membership_config.membership().clone();
        let changed = async {
            match change {
                Change::AddLearner { id, peer } => {
                    self.add_learner(&membership, id, peer).await.map_err(Refusal::Failed)
                }
                Change::Promote { id } => self.promote(&membership, id).await.map_err(Refusal::Failed),
                Change::Remove { id } => self.remove(&membership, id).await.map_err(Refusal::Failed),
                Change::Transfer { to } => self.transfer(&membership, to).await,
            }
        };
        match tokio::time::timeout(CHANGE_LIMIT, changed).await {
            Ok(done) => done,
            Err(_) => Err(Refusal::Failed(format!(
                "the change was not carried out within {} seconds; it may still be: look at the members",
                CHANGE_LIMIT.as_secs()
            ))),
        }
    }

    async fn add_learner(&self, membership: &Membership, id: u64, peer: Peer) -> Result<u64, String> {
        if peer.address.parse::<std::net::SocketAddr>().is_err() {
            let address = &peer.address;
            return Err(format!("{address:?} is not an IP address and a port: peers are never names"));
        }
        let others = membership.nodes().filter(|(other, _)| **other != id);
        if membership.get_node(&id).is_none() && membership.nodes().count() >= MEMBERS_LIMIT {
            return Err(format!("the store has {MEMBERS_LIMIT} members already; remove one first"));
        }
        for (other, known) in others {
            if known.address == peer.address {
                return Err(format!(
                    "member {other:x} ({}) has the address {}; remove it first if this one replaces it",
                    known.name, known.address
                ));
            }
        }
        if membership.get_node(&id).is_some_and(|known| *known != peer) {
            let moved = ChangeMembers::SetNodes([(id, peer)].into());
            let done = self.raft.change_membership(moved, true).await.map_err(|error| error.to_string())?;
            return Ok(done.log_id.index);
        }
        let done = self.raft.add_learner(id, peer, false).await.map_err(|error| error.to_string())?;
        Ok(done.log_id.index)
    }

    async fn promote(&self, membership: &Membership, id: u64) -> Result<u64, String> {
        if membership.get_node(&id).is_none() {
            return Err(format!("there is no member {id:x}"));
        }
        if membership.voter_ids().any(|voter| voter == id) {
            return Ok(self.state.applied());
        }
        self.caught_up(id).await;
        let voters = ChangeMembers::AddVoterIds([id].into());
        let done = self.raft.change_membership(voters, true).await.map_err(|error| error.to_string())?;
        Ok(done.log_id.index)
    }

    /// Waits until a learner is nearly as far as this leader.
    async fn caught_up(&self, id: u64) {
        let mut metrics = self.raft.metrics();
        loop {
            {
                let metrics = openraft::async_runtime::WatchReceiver::borrow_watched(&metrics);
                let matched =
                    metrics.replication.as_ref().and_then(|all| all.get(&id)?.as_ref().map(|at| at.index));
                let last = metrics.last_log_index.unwrap_or(0);
                if matched.is_some_and(|matched| matched + PROMOTE_LAG >= last) {
                    return;
                }
            }
            if openraft::async_runtime::WatchReceiver::changed(&mut metrics).await.is_err() {
                return;
            }
        }
    }

    async fn remove(&self, membership: &Membership, id: u64) -> Result<u64, String> {
        if membership.get_node(&id).is_none() {
            return Err(format!("there is no member {id:x}"));
        }
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        if voters.contains(&id) {
            if voters.len() == 1 {
                return Err("it is the only member with a vote; promote another one first".into());
            }
            if id == self.id {
                return Err("it leads: transfer the leadership to another member first".into());
            }
            let without = ChangeMembers::RemoveVoters([id].into());
            self.raft.change_membership(without, true).await.map_err(|error| error.to_string())?;
        }
        let without = ChangeMembers::RemoveNodes([id].into());
        let done = self.raft.change_membership(without, false).await.map_err(|error| error.to_string())?;
        Ok(done.log_id.index)
    }

    /// Asked once, and heard or not: where a third member comes first, whoever wanted it asks that one.
    async fn transfer(&self, membership: &Membership, to: u64) -> Result<u64, Refusal> {
        if !membership.voter_ids().any(|voter| voter == to) {
            return Err(Refusal::Failed(format!("there is no member {to:x} with a vote")));
        }
        if to == self.id {
            return Ok(self.state.applied());
        }
        let asked = self.raft.trigger().transfer_leader(to).await;
        asked.map_err(|error| Refusal::Failed(error.to_string()))?;
        let mut metrics = self.raft.metrics();
        loop {
            let leader = openraft::async_runtime::WatchReceiver::borrow_watched(&metrics).current_leader;
            if leader == Some(to) {
                return Ok(self.state.applied());
            }
            if leader.is_some_and(|leader| leader != self.id) {
                return Err(Refusal::NotLeader { leader });
            }
            if openraft::async_runtime::WatchReceiver::changed(&mut metrics).await.is_err() {
                return Err(Refusal::Failed("the store is closing".into()));
            }
        }
    }
}

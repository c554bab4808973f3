//! A cluster from outside: what the command line asks of a running member, over the members' own wire.

use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;

use super::declared::{Payload, Peer};
use super::members::{Change, Status};
use super::message::{Refusal, Request, Response};
use super::tls::{Dialler, PeerTls};
use super::transport::{CallError, Lane, Transport};
use crate::command::{Command, Reply};

/// How long a member may take for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How long a change of the membership may take.
const CHANGE_LIMIT: Duration = Duration::from_secs(90);
/// Members asked who leads before giving up.
const TRIES: u32 = 40;
/// Between two of them.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// A member to ask. It must be made on a runtime.
pub struct Client {
    dialler: Dialler,
    peer: Peer,
}

impl Client {
    /// Asks the member at an address.
    pub fn new(address: &str, tls: PeerTls) -> Client {
        let dialler = Dialler {
            runtime: Handle::current(),
            tls,
            own: 0,
            cluster: Arc::new(AtomicU64::new(0)),
            connections: Mutex::new(HashMap::new()),
        };
        Client { dialler, peer: Peer { name: String::new(), address: address.to_owned() } }
    }

    async fn ask(
        &self,
        to: u64,
        peer: &Peer,
        request: Request,
        limit: Duration,
    ) -> Result<Response, CallError> {
        self.dialler.call(Lane::Forward, to, peer, request, limit).await
    }

    /// How the member does.
    pub async fn status(&self) -> Result<Status, CallError> {
        self.status_of(0, &self.peer).await
    }

    /// How another one does.
    pub async fn status_of(&self, id: u64, peer: &Peer) -> Result<Status, CallError> {
        match self.ask(id, peer, Request::Status, ANSWER_LIMIT).await? {
            Response::Status(status) => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// Has the leader carry out a change; looks for the leader while there is none.
    pub async fn change(&self, change: &Change) -> Result<(), CallError> {
        let mut latest = CallError::Unreachable("no member leads".into());
        for _ in 0..TRIES {
            let status = match self.status().await {
                Ok(status) => status,
                Err(error) => {
                    latest = error;
                    tokio::time::sleep(TRY_AGAIN).await;
                    continue;
                }
            };
            let leader = status.members.iter().find(|member| Some(member.id) == status.leader);
            if let Some(leader) = leader {
                let request = Request::Change(change.clone());
                match self.ask(leader.id, &leader.peer, request, CHANGE_LIMIT).await {
                    Ok(_) => return Ok(()),
                    Err(
                        error @ (CallError::Refused(Refusal::NotLeader { .. }) | CallError::Unreachable(_)),
                    ) => {
                        latest = error;
                    }
                    Err(error) => return Err(error),
                }
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
        Err(latest)
    }

    /// Carries out a command on the member, which must lead.
    pub async fn propose(&self, command: &Command) -> Result<Reply, CallError> {
        let command =
            postcard::to_stdvec(command).map_err(|error| CallError::Unreachable(error.to_string()))?;
        let request = Request::Propose { command: Payload(command.into()), relaxed: false };
        match self.ask(0, &self.peer, request, ANSWER_LIMIT * 2).await? {
            Response::Proposed(Ok((reply, _))) => Ok(reply),
            Response::Proposed(Err(error)) => Err(Refusal::Failed(error.to_string()).into()),
            other => Err(unexpected(&other)),
        }
    }

    /// Writes a snapshot of the member's state. Gives its bytes.
    pub async fn snapshot(&self, to: &mut impl Write) -> Result<u64, CallError> {
        let (mut transfer, mut size) = (0, 0);
        loop {
            let request = Request::Fetch { transfer };
            match self.ask(0, &self.peer, request, ANSWER_LIMIT * 6).await? {
                Response::Fetched { transfer: now, bytes: Some(bytes) } => {
                    transfer = now;
                    size += bytes.len() as u64;
                    let failed =
                        |error: std::io::Error| CallError::Lost(format!("writing the snapshot: {error}"));
                    to.write_all(&bytes).map_err(failed)?;
                }
                Response::Fetched { bytes: None, .. } => return Ok(size),
                other => return Err(unexpected(&other)),
            }
        }
    }
}

fn unexpected(response: &Response) -> CallError {
    CallError::Lost(format!("an answer to something else: {response:?}"))
}

//! The table of processes.
//!
//! ```text
//! Launching ──▶ Running ──▶ Ended ──▶ forgotten
//!     └──▶ Failing (reaped, then the launcher is told, then forgotten)
//! ```
//!
//! **Invariants.** At most [`MOST_PROCESSES`]. A pidfd is closed only after its process was reaped, or
//! was somebody else's to reap and has ended. An end is kept until it is forgotten, unless its process
//! is tied to a client that is gone.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Bound;
use std::os::fd::{AsFd, OwnedFd};

use keeper_api::{Exit, Failure, ProcessId, Status, Stream};
use sys::exit::Observed;
use sys::poll::{Interest, Poll};
use sys::seqpacket::Conn;

use crate::clients::ClientNumber;
use crate::launcher::Child;
use crate::server::{Token, now_nanoseconds};

/// Processes at a time, ended ones included.
pub const MOST_PROCESSES: usize = 4096;

/// The number of a process in the loop; never used twice.
pub type ProcessNumber = u64;

/// The table.
#[derive(Default)]
pub struct Processes {
    by_id: BTreeMap<ProcessId, Process>,
    ids: HashMap<ProcessNumber, ProcessId>,
    next: ProcessNumber,
}

/// One process.
pub struct Process {
    pub number: ProcessNumber,
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub started_at_nanoseconds: u64,
    /// Cloned by this keeper, which therefore reaps it.
    pub ours: bool,
    /// The client with which it dies.
    pub tied: Option<ClientNumber>,
    pub held: Vec<(Stream, OwnedFd)>,
    pub pty: Option<OwnedFd>,
    pub stage: Stage,
}

/// Where it stands.
pub enum Stage {
    /// On its way to the program.
    Launching(Launching),
    /// Never became the program; `asker` is told when it is reaped.
    Failing { asker: Option<Asker>, failure: Failure },
    /// The program.
    Running,
    /// Over.
    Ended(Exit),
}

/// A launch under way.
pub struct Launching {
    pub child: Box<dyn Child>,
    /// Where its terminal's master arrives.
    pub console: Option<Conn>,
    /// `None` when the client that asked is gone.
    pub asker: Option<Asker>,
}

/// Who asked, and the serial of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    pub client: ClientNumber,
    pub serial: u64,
}

impl Processes {
    /// Whether there is room for one more.
    pub fn is_full(&self) -> bool {
        self.by_id.len() >= MOST_PROCESSES
    }

    /// A number for the next process.
    pub fn next_number(&mut self) -> ProcessNumber {
        self.next += 1;
        self.next
    }

    /// Takes a process in and watches it.
    pub fn insert(&mut self, id: ProcessId, process: Process, poll: &Poll) -> io::Result<()> {
        // An edge is enough: a child is reaped at its one edge, and a stranger's zombie would report for ever.
        if !matches!(process.stage, Stage::Ended(_)) {
            poll.add(&process.pidfd, Token::Process(process.number).into(), Interest::ReadEdge)?;
        }
        if let Stage::Launching(launching) = &process.stage {
            poll.add(launching.child.readiness(), Token::Launching(process.number).into(), Interest::Read)?;
        }
        self.next = self.next.max(process.number);
        self.ids.insert(process.number, id.clone());
        self.by_id.insert(id, process);
        Ok(())
    }

    /// Finds a process by name.
    pub fn get_mut(&mut self, id: &ProcessId) -> Option<&mut Process> {
        self.by_id.get_mut(id)
    }

    /// Finds a process by number.
    pub fn by_number(&mut self, number: ProcessNumber) -> Option<(ProcessId, &mut Process)> {
        let id = self.ids.get(&number)?;
        Some((id.clone(), self.by_id.get_mut(id)?))
    }

    /// Drops a process.
    pub fn remove(&mut self, id: &ProcessId, poll: &Poll) {
        if let Some(process) = self.by_id.remove(id) {
            self.ids.remove(&process.number);
            poll.remove(&process.pidfd);
            if let Stage::Launching(launching) = &process.stage {
                poll.remove(launching.child.readiness());
            }
        }
    }

    /// Those after a name, in the order of names.
    pub fn after<'a>(
        &'a self,
        id: Option<&'a ProcessId>,
    ) -> impl Iterator<Item = (&'a ProcessId, &'a Process)> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id.range::<ProcessId, _>((from, Bound::Unbounded))
    }

    /// Kills what is tied to a client that is gone. Launches of its own end by themselves: the client
    /// held the other end of their gates.
    pub fn client_gone(&mut self, client: ClientNumber) {
        for process in self.by_id.values_mut() {
            match &mut process.stage {
                Stage::Launching(launching) if launching.asker.is_some_and(|a| a.client == client) => {
                    launching.asker = None;
                    process.kill();
                }
                Stage::Failing { asker, .. } if asker.is_some_and(|a| a.client == client) => *asker = None,
                Stage::Running if process.tied == Some(client) => process.kill(),
                _ => {}
            }
        }
        // Ends of tied processes interest nobody any more.
        let over: Vec<ProcessId> = self
            .by_id
            .iter()
            .filter(|(_, process)| process.tied == Some(client) && matches!(process.stage, Stage::Ended(_)))
            .map(|(id, _)| id.clone())
            .collect();
        for id in over {
            if let Some(process) = self.by_id.remove(&id) {
                self.ids.remove(&process.number);
            }
        }
    }

    /// Whether a launch is under way.
    pub fn is_launching(&self) -> bool {
        self.by_id.values().any(|p| matches!(p.stage, Stage::Launching(_) | Stage::Failing { .. }))
    }
}

impl Process {
    /// Kills it; it may have ended already.
    pub fn kill(&self) {
        if let Err(error) = sys::exit::kill(self.pidfd.as_fd()) {
            tracing::debug!(pid = self.pid, %error, "nothing to kill");
        }
    }

    /// Looks whether it has ended, and reaps it if it is ours.
    pub fn look(&self) -> Option<Exit> {
        let status = if self.ours {
            match sys::exit::reap(self.pidfd.as_fd()) {
                Ok(None) => return None,
                Ok(Some(word)) => Status::from_wait(word),
                Err(error) => {
                    tracing::warn!(pid = self.pid, %error, "a child was not there to be reaped");
                    Status::Unknown
                }
            }
        } else {
            match sys::exit::observe(self.pidfd.as_fd(), self.pid) {
                Observed::Alive => return None,
                Observed::Ended(word) => Status::from_wait(word),
                Observed::Lost => Status::Unknown,
            }
        };
        Some(Exit { status, at_nanoseconds: now_nanoseconds() })
    }
}

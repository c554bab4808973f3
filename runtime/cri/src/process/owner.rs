//! The one task that owns the table and the connection to the keeper.
//!
//! **Invariants.** Calls of this task never wait for the keeper: each answer finds its question by
//! serial. At most [`MOST_WAITING`] questions are open; commands wait in their queue beyond that.

mod answers;

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use keeper_api::{Body, Call, Channel, ChannelError, Exit, Failure, ProcessId, Stream};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::keeper::{self, ConnectError, Connected};
use super::launch::{self, Asked, Wish};
use super::record::Records;
use super::table::Table;
use super::{CallError, Held, LaunchError, ProcessesOptions, SignalError};

/// Questions to the keeper that are open at a time.
const MOST_WAITING: usize = 512;

type Descriptors = oneshot::Sender<Result<Vec<OwnedFd>, CallError>>;

/// What the owner is told to do.
#[derive(Debug)]
pub enum Command {
    Launch {
        wish: Wish,
        reply: launch::Reply,
    },
    Exited {
        id: ProcessId,
        reply: oneshot::Sender<Option<watch::Receiver<Option<Exit>>>>,
    },
    Signal {
        id: ProcessId,
        signal: i32,
        group: bool,
        reply: oneshot::Sender<Result<(), SignalError>>,
    },
    Forget {
        id: ProcessId,
        reply: oneshot::Sender<()>,
    },
    Abandon {
        id: ProcessId,
    },
    List {
        reply: oneshot::Sender<Vec<Held>>,
    },
    Pty {
        id: ProcessId,
        reply: oneshot::Sender<Option<OwnedFd>>,
    },
    Pidfd {
        id: ProcessId,
        reply: oneshot::Sender<Option<OwnedFd>>,
    },
    Hold {
        id: ProcessId,
        held: Vec<(Stream, Arc<OwnedFd>)>,
    },
    Release {
        id: ProcessId,
        stream: Stream,
        reply: Descriptors,
    },
    Store {
        name: String,
        listener: Arc<OwnedFd>,
        reply: Descriptors,
    },
    Take {
        name: String,
        reply: Descriptors,
    },
    Upgrade {
        reply: Descriptors,
    },
    Keeper {
        reply: oneshot::Sender<Option<i32>>,
    },
    /// From a watcher.
    Ended {
        id: ProcessId,
        exit: Exit,
    },
}

/// An open question.
enum Question {
    Launch(Asked),
    Plain(Descriptors),
    /// Its failure is worth a line only.
    Quiet(&'static str),
}

/// A message on its way out.
struct Outgoing {
    serial: u64,
    call: Call,
    descriptors: Vec<Arc<OwnedFd>>,
}

/// The task's state.
pub struct Owner {
    options: ProcessesOptions,
    table: Table,
    link: Option<AsyncFd<Channel>>,
    keeper: Option<i32>,
    questions: BTreeMap<u64, Question>,
    outgoing: VecDeque<Outgoing>,
    serial: u64,
    buffer: Vec<u8>,
    /// Wishes that wait for the next keeper.
    again: Vec<(Wish, launch::Reply)>,
    /// What the next keeper is to store again.
    stored: BTreeMap<String, Arc<OwnedFd>>,
}

enum Turn {
    Command(Option<Command>),
    Readable,
    Writable,
    Connected(Box<Connected>),
    LinkLost(std::io::Error),
}

impl Owner {
    /// Connects for the first time and fills the table.
    pub async fn start(
        options: ProcessesOptions,
        commands: mpsc::WeakSender<Command>,
    ) -> Result<Owner, ConnectError> {
        let records = Records::open(&options.state_dir).map_err(ConnectError::Records)?;
        let connected = keeper::establish(options.clone(), Some(keeper::START_ATTEMPTS)).await?;
        let other = connected.build != oci::plan::build();
        let mut owner = Owner {
            options,
            table: Table::new(records, commands),
            link: None,
            keeper: None,
            questions: BTreeMap::new(),
            outgoing: VecDeque::new(),
            serial: 0,
            buffer: Vec::new(),
            again: Vec::new(),
            stored: BTreeMap::new(),
        };
        owner.connected(connected);
        owner.table.recover().map_err(ConnectError::Records)?;
        owner.hand_over_all();
        if other {
            owner.upgrade(oneshot::channel().0);
        }
        Ok(owner)
    }

    /// Runs until every handle is gone.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut connecting: Option<JoinHandle<Result<Connected, ConnectError>>> = None;
        loop {
            if self.link.is_none() && connecting.is_none() {
                connecting = Some(tokio::spawn(keeper::establish(self.options.clone(), None)));
            }
            match self.turn(&mut commands, &mut connecting).await {
                Turn::Command(None) => break,
                Turn::Command(Some(command)) => self.command(command),
                Turn::Readable => self.receive(),
                Turn::Writable => self.flush(),
                Turn::Connected(connected) => {
                    tracing::info!(pid = connected.keeper, "a new keeper takes over");
                    self.connected(*connected);
                    self.hand_over_all();
                    for (wish, reply) in std::mem::take(&mut self.again) {
                        self.ask_launch(wish, reply);
                    }
                }
                Turn::LinkLost(error) => {
                    tracing::warn!(%error, "the connection to the keeper failed");
                    self.link_lost();
                }
            }
        }
        if let Some(connecting) = connecting {
            connecting.abort();
        }
    }

    async fn turn(
        &self,
        commands: &mut mpsc::Receiver<Command>,
        connecting: &mut Option<JoinHandle<Result<Connected, ConnectError>>>,
    ) -> Turn {
        let link = self.link.as_ref();
        let readable = async {
            match link {
                Some(link) => link.readable().await.map(|mut ready| ready.retain_ready()),
                None => std::future::pending().await,
            }
        };
        let writable = async {
            match link {
                Some(link) if !self.outgoing.is_empty() => {
                    link.writable().await.map(|mut ready| ready.retain_ready())
                }
                _ => std::future::pending().await,
            }
        };
        let connected = async {
            match connecting {
                Some(task) => {
                    let done = task.await;
                    *connecting = None;
                    done
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            done = connected => match done {
                Ok(Ok(connected)) => Turn::Connected(Box::new(connected)),
                Ok(Err(error)) => Turn::LinkLost(std::io::Error::other(error)),
                Err(error) => Turn::LinkLost(std::io::Error::other(error)),
            },
            ready = readable => ready.map_or_else(Turn::LinkLost, |()| Turn::Readable),
            ready = writable => ready.map_or_else(Turn::LinkLost, |()| Turn::Writable),
            command = commands.recv(), if self.questions.len() < MOST_WAITING => Turn::Command(command),
        }
    }

    // === commands ===

    fn command(&mut self, command: Command) {
        // Whoever has stopped waiting needs no answer, hence the discarded results of `send`.
        match command {
            Command::Launch { wish, reply } => self.ask_launch(wish, reply),
            Command::Exited { id, reply } => {
                let _ = reply.send(self.table.get(&id).map(|process| process.exit.subscribe()));
            }
            Command::Signal { id, signal, group, reply } => {
                let _ = reply.send(self.signal(&id, signal, group));
            }
            Command::Forget { id, reply } => {
                self.forget(&id);
                let _ = reply.send(());
            }
            Command::Abandon { id } => {
                let _ended_already = self.signal(&id, KILL, true).and(self.signal(&id, KILL, false));
                self.forget(&id);
            }
            Command::List { reply } => {
                let _ = reply.send(self.table.list());
            }
            Command::Pty { id, reply } => {
                let pty = self.table.get(&id).and_then(|process| process.pty.as_ref()?.try_clone().ok());
                let _ = reply.send(pty);
            }
            Command::Pidfd { id, reply } => {
                let pidfd = self.table.get(&id).and_then(|process| process.pidfd.as_ref()?.try_clone().ok());
                let _ = reply.send(pidfd);
            }
            Command::Hold { id, held } => self.hold(&id, held),
            Command::Release { id, stream, reply } => {
                if let Some(process) = self.table.get_mut(&id) {
                    process.held.retain(|(held, _)| *held != stream);
                }
                self.ask(Call::Release { id, stream }, Vec::new(), Question::Plain(reply));
            }
            Command::Store { name, listener, reply } => {
                self.stored.insert(name.clone(), Arc::clone(&listener));
                self.ask(Call::StoreFd { name }, vec![listener], Question::Plain(reply));
            }
            Command::Take { name, reply } => {
                self.ask(Call::TakeFds { name }, Vec::new(), Question::Plain(reply));
            }
            Command::Upgrade { reply } => self.upgrade(reply),
            Command::Keeper { reply } => {
                let _ = reply.send(self.keeper);
            }
            Command::Ended { id, exit } => self.ended(&id, exit),
        }
    }

    fn ask_launch(&mut self, wish: Wish, reply: launch::Reply) {
        if self.table.get(&wish.id).is_some() {
            let message = format!("there is a process {} already", wish.id);
            let failure = Failure { kind: keeper_api::FailureKind::Exists, message };
            drop(reply.send(Err(LaunchError::Failed(failure))));
            return;
        }
        if self.link.is_none() {
            return self.again.push((wish, reply));
        }
        match wish.ask(reply) {
            Ok((asked, (call, descriptors))) => self.ask(call, descriptors, Question::Launch(asked)),
            Err((reply, error)) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    fn signal(&self, id: &ProcessId, signal: i32, group: bool) -> Result<(), SignalError> {
        let process = self.table.get(id).ok_or_else(|| SignalError::Unknown(id.clone()))?;
        let Some(pidfd) = process.pidfd.as_ref().filter(|_| process.ended().is_none()) else { return Ok(()) };
        let sent = if group {
            sys::exit::signal_group(pidfd.as_fd(), signal)
        } else {
            sys::exit::signal(pidfd.as_fd(), Some(signal))
        };
        match sent {
            Err(source) if source.raw_os_error() != Some(NO_SUCH_PROCESS) => {
                Err(SignalError::Refused { signal, source })
            }
            _ => Ok(()),
        }
    }

    fn forget(&mut self, id: &ProcessId) {
        let Some(process) = self.table.get_mut(id) else { return };
        if process.ended().is_none() {
            process.forgotten = true;
            return;
        }
        self.table.remove(id);
        self.ask(Call::Forget { id: id.clone() }, Vec::new(), Question::Quiet("forget"));
    }

    fn hold(&mut self, id: &ProcessId, held: Vec<(Stream, Arc<OwnedFd>)>) {
        let Some(process) = self.table.get_mut(id) else { return };
        // Ours in place of copies that came from the keeper: one number each is enough.
        process.held.retain(|(already, _)| !held.iter().any(|(stream, _)| stream == already));
        process.held.extend(held);
        if process.ended().is_none() {
            let (call, descriptors) = process.adoption(id);
            self.ask(call, descriptors, Question::Quiet("hold"));
        }
    }

    fn upgrade(&mut self, reply: Descriptors) {
        match std::fs::File::open(&self.options.keeper_exe) {
            Ok(executable) => {
                let executable = Arc::new(OwnedFd::from(executable));
                self.ask(Call::Upgrade, vec![executable], Question::Plain(reply));
            }
            Err(error) => {
                let kind = keeper_api::FailureKind::System { errno: error.raw_os_error().unwrap_or(0) };
                let message = format!("open {}: {error}", self.options.keeper_exe.display());
                let _ = reply.send(Err(CallError::Failed(Failure { kind, message })));
            }
        }
    }

    fn ended(&mut self, id: &ProcessId, exit: Exit) {
        if self.table.ended(id, exit) {
            self.forget(id);
        }
    }

    // === the connection ===

    /// Takes a connection and what came with it.
    fn connected(&mut self, connected: Connected) {
        self.keeper = Some(connected.keeper);
        self.link = Some(connected.channel);
        for (entry, descriptors) in connected.entries {
            self.table.merge(entry, descriptors);
        }
        for (id, exit) in connected.ends {
            self.ended(&id, exit);
        }
    }

    /// Hands everything that lives to the keeper; what it has already it keeps.
    fn hand_over_all(&mut self) {
        let alive = self.table.iter().filter(|(_, process)| process.ended().is_none());
        let calls: Vec<_> = alive.map(|(id, process)| process.adoption(id)).collect();
        for (call, descriptors) in calls {
            self.ask(call, descriptors, Question::Quiet("adopt"));
        }
        for (name, listener) in self.stored.clone() {
            self.ask(Call::StoreFd { name }, vec![listener], Question::Quiet("store"));
        }
    }

    fn ask(&mut self, call: Call, descriptors: Vec<Arc<OwnedFd>>, question: Question) {
        if self.link.is_none() {
            return match question {
                Question::Plain(reply) => drop(reply.send(Err(CallError::KeeperDied))),
                Question::Launch(asked) => self.again.push((asked.wish, asked.reply)),
                // The next keeper gets everything anyway.
                Question::Quiet(_) => {}
            };
        }
        self.serial += 1;
        self.questions.insert(self.serial, question);
        self.outgoing.push_back(Outgoing { serial: self.serial, call, descriptors });
        self.flush();
    }

    fn flush(&mut self) {
        loop {
            let (Some(link), Some(next)) = (&self.link, self.outgoing.front()) else { return };
            let descriptors: Vec<BorrowedFd<'_>> = next.descriptors.iter().map(|fd| fd.as_fd()).collect();
            let sent = link.try_io(tokio::io::Interest::WRITABLE, |channel| {
                match channel.send(next.serial, &next.call, &descriptors) {
                    Err(ChannelError::WouldBlock) => Err(std::io::ErrorKind::WouldBlock.into()),
                    sent => Ok(sent),
                }
            });
            match sent {
                Ok(Ok(())) => drop(self.outgoing.pop_front()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Ok(Err(ChannelError::Closed)) | Err(_) => return self.link_lost(),
                Ok(Err(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a message cannot be sent");
                    self.refuse_first(&error);
                }
            }
        }
    }

    fn refuse_first(&mut self, error: &ChannelError) {
        let Some(first) = self.outgoing.pop_front() else { return };
        let failure = Failure { kind: keeper_api::FailureKind::Request, message: error.to_string() };
        self.answer(first.serial, Body::Failed(failure), Vec::new());
    }

    fn receive(&mut self) {
        loop {
            let Some(link) = &self.link else { return };
            let buffer = &mut self.buffer;
            let received =
                link.try_io(tokio::io::Interest::READABLE, |channel| match channel.receive::<Body>(buffer) {
                    Err(ChannelError::WouldBlock) => Err(std::io::ErrorKind::WouldBlock.into()),
                    received => Ok(received),
                });
            match received {
                Ok(Ok((packet, descriptors))) => self.answer(packet.serial, packet.body, descriptors),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Ok(Err(ChannelError::Closed)) | Err(_) => return self.link_lost(),
                Ok(Err(error)) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the keeper is not understood");
                    return self.link_lost();
                }
            }
        }
    }

    /// The keeper is gone: launches are asked for again of the next one, other questions fail.
    fn link_lost(&mut self) {
        if self.link.take().is_none() {
            return;
        }
        tracing::warn!(pid = self.keeper, "the keeper is gone");
        self.keeper = None;
        self.outgoing.clear();
        for (_, question) in std::mem::take(&mut self.questions) {
            match question {
                Question::Plain(reply) => drop(reply.send(Err(CallError::KeeperDied))),
                Question::Quiet(_) => {}
                Question::Launch(asked) => self.keeper_died_launching(asked),
            }
        }
    }
}

/// `SIGKILL`
const KILL: i32 = 9;
/// `ESRCH`
const NO_SUCH_PROCESS: i32 = 3;
/// A launch's error when the keeper keeps dying.
fn died(attempts: u32) -> LaunchError {
    LaunchError::KeeperDied { attempts }
}

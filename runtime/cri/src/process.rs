//! Processes of containers, as the daemon sees them: launched by the keeper, held by both.
//!
//! ```text
//!            Processes (handle) ──Command──▶ Owner (one task)
//!                                             │  table of processes, each with its pidfd
//!  <state>/processes/<id>  ◀── records ───────┤
//!                                             ├── keeper.sock: calls, answers, exits
//!                                             └── one watcher per process on its pidfd
//! ```
//!
//! Who died, and where the exit code then comes from:
//!
//! | died | the process lives on because | its end is told by |
//! |---|---|---|
//! | daemon | it is no child of the daemon | the keeper, which reaped it, in its list |
//! | keeper | the daemon holds its pidfd and streams | the pidfd: a zombie's status, or PIDFD_GET_INFO (Linux 6.15) |
//! | both | nobody's death is a signal to it | its record finds it again by pid, pidfd inode and start time; if it ended in between, nobody knows |
//!
//! A dead keeper is replaced at once, and everything held here is handed to the new one.
//!
//! **Invariants.** No program runs that nobody holds: a child waits at its gate until its pidfd is in
//! the table and its record on disk. An end that was told never changes. What is not here: what a
//! process is for, its output ([`crate::io`]), its cgroup.

#[cfg(test)]
mod former;
mod keeper;
mod launch;
mod owner;
pub(crate) mod ready;
mod record;
mod table;
mod watch;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

pub use keeper::ConnectError;
pub use keeper_api::{Exit, ProcessId, Status, Stream};
pub(crate) use launch::encode_gated;

use owner::{Command, Owner};

/// Commands that wait for the owner.
const MOST_COMMANDS: usize = 256;

/// How to reach the keeper, and how to start one.
#[derive(Clone, Debug)]
pub struct ProcessesOptions {
    /// The state directory: socket, records.
    pub state_dir: PathBuf,
    /// Run as `<keeper_exe> keeper --state DIR --cgroup PATH` when there is no keeper.
    pub keeper_exe: PathBuf,
    /// The keeper's cgroup; `none` leaves it in ours.
    pub keeper_cgroup: String,
}

/// The handle of the owner; all copies are the same.
#[derive(Clone, Debug)]
pub struct Processes(mpsc::Sender<Command>);

/// The descriptors of a process to launch.
#[derive(Debug)]
pub struct Io {
    /// Its standard input, output and error; with a terminal they are replaced by it.
    pub stdio: [OwnedFd; 3],
    /// Ends of its streams that the keeper and this process keep open while it lives.
    pub held: Vec<(Stream, Arc<OwnedFd>)>,
    /// It makes itself a terminal.
    pub tty: bool,
    /// It dies with this process (an exec).
    pub tied: bool,
}

/// A process that runs.
#[derive(Debug)]
pub struct Running {
    /// Its pid on the host.
    pub pid: i32,
    /// When it was cloned.
    pub started_at_nanoseconds: u64,
    /// Its terminal's master, if it has one.
    pub pty: Option<OwnedFd>,
}

/// A process in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub id: ProcessId,
    pub pid: i32,
    pub started_at_nanoseconds: u64,
    /// How it ended, if it has.
    pub exit: Option<Exit>,
    pub tied: bool,
}

/// Why a process was not launched. Nothing of it is left, except where the variant says so.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The keeper refused, or the child failed on its way.
    #[error("{0}")]
    Failed(keeper_api::Failure),
    #[error("the plan cannot be passed on")]
    Plan(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("a descriptor for the process cannot be made")]
    Descriptor(#[source] std::io::Error),
    /// The keeper died again and again in the middle of it.
    #[error("the keeper died {attempts} times while the process was launched")]
    KeeperDied { attempts: u32 },
    #[error("the process's record cannot be written")]
    Record(#[source] std::io::Error),
    #[error("the daemon is stopping")]
    Stopping,
}

impl LaunchError {
    /// The step at which the child failed, in words, and the errno.
    pub fn step(&self) -> Option<(&str, i32)> {
        match self {
            LaunchError::Failed(failure) => match &failure.kind {
                keeper_api::FailureKind::Launch { step, errno } => Some((step, *errno)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Why the keeper did not do something.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{0}")]
    Failed(keeper_api::Failure),
    #[error("the keeper died in the middle of it")]
    KeeperDied,
    #[error("the daemon is stopping")]
    Stopping,
}

/// Why a signal was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    #[error("no process {0}")]
    Unknown(ProcessId),
    #[error("signal {signal} was refused")]
    Refused { signal: i32, source: std::io::Error },
    #[error("the daemon is stopping")]
    Stopping,
}

impl ProcessesOptions {
    /// Options for a state directory: this executable is the keeper.
    pub fn new(state_dir: PathBuf) -> ProcessesOptions {
        ProcessesOptions {
            state_dir,
            keeper_exe: "/proc/self/exe".into(),
            keeper_cgroup: "/keelson/keeper".to_owned(),
        }
    }
}

impl Processes {
    /// Finds the keeper or starts one, takes back what it holds, and finds again what both lost.
    pub async fn connect(options: ProcessesOptions) -> Result<Processes, ConnectError> {
        let (commands, received) = mpsc::channel(MOST_COMMANDS);
        let owner = Owner::start(options, commands.downgrade()).await?;
        tokio::spawn(owner.run(received));
        Ok(Processes(commands))
    }

    /// Launches a process and waits until it is the program. A plan without a gate gets one. A keeper's
    /// death in the middle of it is survived. Whoever stops waiting before the gate is open, stops it.
    pub async fn launch(
        &self,
        id: &ProcessId,
        plan: &oci::Plan,
        io: Io,
        cgroup: Option<OwnedFd>,
    ) -> Result<Running, LaunchError> {
        self.launch_encoded(id, &launch::encode_gated(plan)?, io, cgroup).await
    }

    /// [`Processes::launch`] with a plan that is encoded already and has a gate.
    pub async fn launch_encoded(
        &self,
        id: &ProcessId,
        plan: &[u8],
        io: Io,
        cgroup: Option<OwnedFd>,
    ) -> Result<Running, LaunchError> {
        let plan = sys::memfd::sealed("plan", plan).map_err(|errno| LaunchError::Descriptor(errno.into()))?;
        let (reply, answer) = oneshot::channel();
        let wish = launch::Wish::new(id.clone(), plan, io, cgroup);
        self.send(Command::Launch { wish, reply }).await;
        answer.await.unwrap_or(Err(LaunchError::Stopping))
    }

    /// Waits for the end of a process. Of one that nobody knows, the end is unknown.
    pub async fn exited(&self, id: &ProcessId) -> Exit {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Exited { id: id.clone(), reply }).await;
        if let Ok(Some(mut exit)) = answer.await
            && let Ok(Some(exit)) = exit.wait_for(Option::is_some).await.map(|exit| *exit)
        {
            return exit;
        }
        Exit { status: Status::Unknown, at_nanoseconds: table::now_nanoseconds() }
    }

    /// Sends a signal; one that has ended needs none.
    pub async fn signal(&self, id: &ProcessId, signal: i32) -> Result<(), SignalError> {
        self.send_signal(id, signal, false).await
    }

    /// Sends a signal to a process's group.
    pub async fn signal_group(&self, id: &ProcessId, signal: i32) -> Result<(), SignalError> {
        self.send_signal(id, signal, true).await
    }

    async fn send_signal(&self, id: &ProcessId, signal: i32, group: bool) -> Result<(), SignalError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Signal { id: id.clone(), signal, group, reply }).await;
        answer.await.unwrap_or(Err(SignalError::Stopping))
    }

    /// Forgets an ended process, here and in the keeper; one that runs is forgotten when it ends.
    pub async fn forget(&self, id: &ProcessId) {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Forget { id: id.clone(), reply }).await;
        let _stopping = answer.await;
    }

    /// Kills a process and forgets it when it ends; returns at once.
    pub fn abandon(&self, id: &ProcessId) {
        // With the queue full the process stays until this process ends, to which it is tied.
        let _full = self.0.try_send(Command::Abandon { id: id.clone() });
    }

    /// Everything in the table, by name.
    pub async fn list(&self) -> Vec<Held> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::List { reply }).await;
        answer.await.unwrap_or_default()
    }

    /// A copy of a process's terminal master.
    pub async fn pty(&self, id: &ProcessId) -> Option<OwnedFd> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Pty { id: id.clone(), reply }).await;
        answer.await.ok().flatten()
    }

    /// A copy of a process's pidfd, as long as it is in the table.
    pub async fn pidfd(&self, id: &ProcessId) -> Option<OwnedFd> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Pidfd { id: id.clone(), reply }).await;
        answer.await.ok().flatten()
    }

    /// Adds ends of streams to those that are held for a process (after both lost them).
    pub async fn hold(&self, id: &ProcessId, held: Vec<(Stream, Arc<OwnedFd>)>) {
        self.send(Command::Hold { id: id.clone(), held }).await;
    }

    /// Closes what is held of a process's stream, here and in the keeper.
    pub async fn release(&self, id: &ProcessId, stream: Stream) -> Result<(), CallError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Release { id: id.clone(), stream, reply }).await;
        answer.await.unwrap_or(Err(CallError::Stopping)).map(drop)
    }

    /// Lets the keeper hold a listening socket over restarts of this process.
    pub async fn store_listener(&self, name: &str, listener: BorrowedFd<'_>) -> Result<(), CallError> {
        let copy = listener.try_clone_to_owned().map_err(|error| {
            let kind = keeper_api::FailureKind::System { errno: error.raw_os_error().unwrap_or(0) };
            CallError::Failed(keeper_api::Failure { kind, message: format!("copy a listener: {error}") })
        })?;
        let (reply, answer) = oneshot::channel();
        self.send(Command::Store { name: name.to_owned(), listener: Arc::new(copy), reply }).await;
        answer.await.unwrap_or(Err(CallError::Stopping)).map(drop)
    }

    /// The listening socket that was stored under a name.
    pub async fn take_listener(&self, name: &str) -> Result<Option<OwnedFd>, CallError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Take { name: name.to_owned(), reply }).await;
        Ok(answer.await.unwrap_or(Err(CallError::Stopping))?.into_iter().next())
    }

    /// Turns the keeper into this executable, in place: what it holds stays.
    pub async fn upgrade_keeper(&self) -> Result<(), CallError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Upgrade { reply }).await;
        answer.await.unwrap_or(Err(CallError::Stopping)).map(drop)
    }

    /// The keeper's pid; `None` while there is none.
    pub async fn keeper(&self) -> Option<i32> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Keeper { reply }).await;
        answer.await.ok().flatten()
    }

    async fn send(&self, command: Command) {
        // Refused only when the owner has stopped; its answer's absence then says so.
        let _stopping = self.0.send(command).await;
    }
}

/// What the table of processes leaves on the host, beside the keeper's own.
pub fn footprint(state_dir: &std::path::Path) -> sys::footprint::Footprint {
    sys::footprint::Footprint { files: vec![state_dir.join(record::FOLDER)], ..Default::default() }
}

//! The messages themselves: closed enums of plain data.
//!
//! Variants are added at the end only; postcard counts them. The descriptors of a message are listed
//! in the order in which they travel.

use serde::{Deserialize, Serialize};

use crate::{Exit, ProcessId};

/// What a daemon asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// The first message of every connection. Answer: [`Body::Welcome`].
    Hello,
    /// Clones a process. Descriptors: see [`Launch`]. Answers: [`Body::AtGate`], then [`Body::Started`].
    Launch(Launch),
    /// One page of what the keeper holds, by id, after the named one. Answer: [`Body::Listing`].
    List { after: Option<ProcessId> },
    /// Drops an ended process. Answer: [`Body::Done`].
    Forget { id: ProcessId },
    /// Hands over a process that this keeper did not clone. Descriptors: pidfd, the pty's master if
    /// `pty`, then one for each of `held`. Answer: [`Body::Done`].
    Adopt(Adopt),
    /// Closes what the keeper holds of a stream: with the daemon's own end gone, the process reads
    /// the end of its stdin. Answer: [`Body::Done`].
    Release { id: ProcessId, stream: Stream },
    /// Keeps descriptors under a name, in place of what was there. Answer: [`Body::Done`].
    StoreFd { name: String },
    /// Gives copies of what is stored under the name; the keeper goes on holding them.
    /// Answer: [`Body::Fds`].
    TakeFds { name: String },
    /// Forgets what is stored under the name. Answer: [`Body::Done`].
    DropFds { name: String },
    /// Becomes another executable in place, with everything it holds. Descriptor: the executable.
    /// Answer: [`Body::Done`] from the new one.
    Upgrade,
}

/// A process to clone. Descriptors: plan, stdin, stdout, stderr, gate, then the cgroup2 directory if
/// `cgroup`, then one for each of `held`, then `preserve` more for the process's descriptors 3 and up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// Its name; one that the keeper holds already is refused.
    pub id: ProcessId,
    /// The process wants a terminal: it makes one and its master comes with [`Body::Started`].
    pub tty: bool,
    /// A descriptor of the cgroup2 directory comes along.
    pub cgroup: bool,
    /// Streams of which the keeper holds an end, so that neither bytes nor readers get lost.
    pub held: Vec<Stream>,
    /// How many descriptors the process keeps beyond its stdio.
    pub preserve: u8,
    /// The process dies with the connection that launched it, and is then forgotten (an exec).
    pub tied: bool,
}

/// A process cloned by an earlier keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopt {
    /// Its name.
    pub id: ProcessId,
    /// Its pid on the host.
    pub pid: i32,
    /// When it was started: nanoseconds since the epoch.
    pub started_at_nanoseconds: u64,
    /// A pty's master comes along.
    pub pty: bool,
    /// Streams that come along.
    pub held: Vec<Stream>,
    /// As in [`Launch`]; tied to the connection that says so.
    pub tied: bool,
}

/// One of a process's standard streams, or what waits of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stream {
    /// 0; the end that is held is the writer's.
    Stdin,
    /// 1
    Stdout,
    /// 2
    Stderr,
    /// What the daemon has taken over from 1 and not yet written down.
    StdoutRest,
    /// The same of 2.
    StderrRest,
}

/// What the keeper says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Who answers. `instance` changes with every keeper process that starts afresh.
    Welcome { pid: i32, instance: u64, build: String },
    /// The process exists and waits at its gate, if its plan has one. Descriptor: its pidfd.
    AtGate { pid: i32, started_at_nanoseconds: u64 },
    /// The process is the program now. Descriptors: its pidfd and, if it wanted a terminal, the pty's master.
    Started { pid: i32, started_at_nanoseconds: u64, pty: bool },
    /// A page of processes. Descriptors of each in turn: pidfd, pty's master if `pty`, `held`.
    Listing { entries: Vec<Entry>, more: bool },
    /// What is stored under the name asked for, possibly nothing. Descriptors: those.
    Fds,
    /// It is done.
    Done,
    /// It is not done.
    Failed(Failure),
    /// An event, serial 0: a process ended.
    Exited { id: ProcessId, exit: Exit },
}

/// A process that the keeper holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub id: ProcessId,
    /// Its pid on the host.
    pub pid: i32,
    /// When it was cloned: nanoseconds since the epoch.
    pub started_at_nanoseconds: u64,
    /// Where it stands.
    pub stage: Stage,
    /// A pty's master comes along.
    pub pty: bool,
    /// Streams that come along.
    pub held: Vec<Stream>,
    /// It dies with the connection that launched it.
    pub tied: bool,
}

/// Where a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Cloned, not yet the program.
    Launching,
    /// The program runs.
    Running,
    /// It ended; kept until it is forgotten.
    Ended(Exit),
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// A sentence for people.
    pub message: String,
}

/// Kinds of failures that a daemon tells apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The request is malformed, out of order, or lacks descriptors.
    Request,
    /// No process of that name.
    UnknownId,
    /// There is a process of that name.
    Exists,
    /// A table is full; forget something first.
    Full,
    /// The process has not ended, or a launch is under way.
    Busy,
    /// The child failed on its way to the program: the step in words, and the errno (0 if none).
    Launch { step: String, errno: i32 },
    /// A system call of the keeper's own failed.
    System { errno: i32 },
}

//! The one thread that moves the output of all containers into their logs and to who is attached.
//!
//! ```text
//! FIFO ─▶ peek ─▶ attached clients (bounded, never waited for)
//!  │ │      └───▶ entries ─▶ one write(2) to the log
//!  │ └─── discard ◀──────────────┘
//!  └─splice─▶ rest, and from there on the same way
//! ```
//!
//! The rest is a second FIFO: the container's own must be emptied for its next write to wake us, and a
//! line that has no end yet must wait somewhere that survives us. Only such a beginning goes there, and
//! what ends its line: a FIFO of the container's is held by the container itself, the rest by the daemon
//! and the keeper, and when these two die at once the rest goes with them. What a terminal says goes
//! through the rest, whole; its other end goes with the two as well.
//!
//! A container may read its own FIFO: it takes from its own log, and from nothing else. It may also hold
//! the lock of its FIFO while the kernel waits for a page of what it writes (a mapped file of a server that
//! does not answer): then all logs of the node wait for that server.
//!
//! One thread, because the work is copying and the file system serializes it anyway; a thread each
//! would cost a stack each. It blocks only in logs, written and opened anew: a slow disk slows the containers down,
//! through their full FIFOs, and loses nothing.
//!
//! **Invariants.** Bytes leave a FIFO after their entry is in the log, or for the rest. A container gets at most
//! [`ROUNDS`] buffers in a row while others wait.

mod container;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use keeper_api::{ProcessId, Stream};
use sys::fifo::{CAPACITY, Fifo, Scratch};
use sys::poll::{Interest, Poll, Waker};
use tokio::sync::oneshot;

pub use container::{Attacher, Container};

use super::log::LogFile;

/// Commands that wait for the thread.
const MOST_COMMANDS: usize = 4096;
/// Buffers of one stream in a row.
const ROUNDS: usize = 8;
/// How long after a program's end its terminal may take to say the last of it.
const TERMINAL_PATIENCE: Duration = Duration::from_millis(200);

/// What the thread is told.
pub enum Command {
    /// A container begins; the log is written from here on.
    Add { id: ProcessId, container: Box<Container> },
    /// Its terminal.
    Terminal { id: ProcessId, master: Arc<OwnedFd> },
    /// Its log goes to the file that is made here from now on.
    Log { id: ProcessId, path: PathBuf, done: oneshot::Sender<io::Result<()>> },
    /// Somebody wants its output too.
    Attach { id: ProcessId, attacher: Attacher },
    /// Its program has ended: write what is left, end the attached.
    Drain { id: ProcessId, done: oneshot::Sender<()> },
    /// Forget it.
    Remove { id: ProcessId },
}

/// The thread is gone, or too much waits for it.
#[derive(Debug, thiserror::Error)]
#[error("the thread that moves containers' output does not take commands")]
pub struct Unavailable;

/// Commands on their way to the thread: room is made for what there is, not for [`MOST_COMMANDS`].
#[derive(Default)]
struct Commands(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    queue: Vec<Command>,
    /// Nobody tells any more, or nobody listens any more.
    closed: bool,
}

/// The handle of the thread; it ends with the last one.
pub struct Pump {
    commands: Arc<Commands>,
    waker: Arc<Waker>,
    /// `None` only once it has ended.
    thread: Option<JoinHandle<()>>,
}

impl Pump {
    /// Starts the thread.
    pub fn start() -> io::Result<Pump> {
        let commands = Arc::new(Commands::default());
        let waker = Arc::new(Waker::new()?);
        let mut work = Work::new(Arc::clone(&commands), Arc::clone(&waker))?;
        let thread = thread::Builder::new().name("keelson-io".to_owned()).spawn(move || work.run())?;
        Ok(Pump { commands, waker, thread: Some(thread) })
    }

    /// Tells the thread something.
    pub fn tell(&self, command: Command) -> Result<(), Unavailable> {
        self.commands.put(command)?;
        self.waker.wake();
        Ok(())
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.commands.lock().closed = true;
        self.waker.wake();
        // Whoever takes the streams up after this must be the only one to read them.
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that moves containers' output panicked");
        }
    }
}

impl fmt::Debug for Pump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pump").field("thread", &self.thread).finish_non_exhaustive()
    }
}

// === impl Commands ===

impl Commands {
    fn put(&self, command: Command) -> Result<(), Unavailable> {
        let mut waiting = self.lock();
        if waiting.closed || waiting.queue.len() >= MOST_COMMANDS {
            return Err(Unavailable);
        }
        waiting.queue.push(command);
        Ok(())
    }

    /// What waits, and whether more can come.
    fn take(&self) -> (Vec<Command>, bool) {
        let mut waiting = self.lock();
        (std::mem::take(&mut waiting.queue), !waiting.closed)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // A command is in the queue or it is not.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's state.
struct Work {
    commands: Arc<Commands>,
    waker: Arc<Waker>,
    poll: Poll,
    containers: BTreeMap<u64, Container>,
    numbers: BTreeMap<ProcessId, u64>,
    next: u64,
    /// Containers with more to do than their turn allowed.
    again: VecDeque<u64>,
    /// Containers whose program has ended, until all it said is written.
    draining: Vec<u64>,
    scratch: Scratch,
    buffer: Vec<u8>,
    entries: Vec<u8>,
}

/// The waker's number; containers count from 1.
const WAKER: u64 = 0;

impl Work {
    fn new(commands: Arc<Commands>, waker: Arc<Waker>) -> io::Result<Work> {
        let poll = Poll::new()?;
        poll.add(&*waker, WAKER, Interest::Read)?;
        Ok(Work {
            commands,
            waker,
            poll,
            containers: BTreeMap::new(),
            numbers: BTreeMap::new(),
            next: WAKER + 1,
            again: VecDeque::new(),
            draining: Vec::new(),
            scratch: Scratch::new()?,
            buffer: vec![0; CAPACITY],
            entries: Vec::with_capacity(2 * CAPACITY),
        })
    }

    fn run(&mut self) {
        loop {
            let reports = match self.poll.wait(self.timeout()) {
                Ok(reports) => reports,
                Err(error) => {
                    tracing::error!(%error, "waiting for containers' output failed");
                    return;
                }
            };
            for report in reports {
                if report.token == WAKER {
                    self.waker.clear();
                } else if !self.again.contains(&report.token) {
                    self.again.push_back(report.token);
                }
            }
            // Before the output: a client that attached and then typed must see what its input brought about.
            if !self.take_commands() {
                return;
            }
            for _ in 0..self.again.len() {
                if let Some(number) = self.again.pop_front()
                    && self.serve(number)
                {
                    self.again.push_back(number);
                }
            }
            self.finish_drains();
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let draining = self.draining.iter().filter_map(|number| self.containers.get(number));
        let soonest = draining.filter_map(Container::drain_deadline).min();
        soonest.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// `false`: nobody has a handle any more.
    fn take_commands(&mut self) -> bool {
        let (commands, open) = self.commands.take();
        commands.into_iter().for_each(|command| self.command(command));
        open
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Add { id, container } => self.add(id, *container),
            Command::Terminal { id, master } => {
                let Some(number) = self.numbers.get(&id).copied() else { return };
                if let Err(error) = self.poll.add(&*master, number, Interest::ReadEdge) {
                    tracing::error!(%id, %error, "a terminal cannot be watched");
                }
                if let Some(container) = self.containers.get_mut(&number) {
                    container.terminal = Some(master);
                    self.again.push_back(number);
                }
            }
            Command::Log { id, path, done } => {
                // Opened by whoever writes: where there is a new file, nothing comes to the old one any more, and readers
                // that follow it may leave it.
                let opened = self.find(&id).map_or(Ok(()), |container| {
                    container.log = Some(LogFile::open(&path)?);
                    Ok(())
                });
                let _nobody_waits = done.send(opened);
            }
            Command::Attach { id, attacher } => {
                if let Some(number) = self.numbers.get(&id).copied()
                    && let Some(container) = self.containers.get_mut(&number)
                {
                    container.attach(attacher, &self.scratch, &mut self.buffer);
                }
            }
            Command::Drain { id, done } => match self.numbers.get(&id).copied() {
                Some(number) => {
                    if let Some(container) = self.containers.get_mut(&number) {
                        container.drain(done, Instant::now() + TERMINAL_PATIENCE);
                        self.draining.push(number);
                        self.again.push_back(number);
                    }
                }
                None => drop(done.send(())),
            },
            Command::Remove { id } => {
                if let Some(container) = self.numbers.remove(&id).and_then(|n| self.containers.remove(&n)) {
                    container.unwatch(&self.poll);
                }
            }
        }
    }

    fn find(&mut self, id: &ProcessId) -> Option<&mut Container> {
        self.containers.get_mut(self.numbers.get(id)?)
    }

    fn add(&mut self, id: ProcessId, container: Container) {
        let number = self.next;
        self.next += 1;
        for output in &container.outputs {
            let Some(fifo) = &output.fifo else { continue };
            if let Err(error) = self.poll.add(fifo, number, Interest::ReadEdge) {
                tracing::error!(%id, %error, "a container's output cannot be watched");
            }
        }
        if let Some(old) = self.numbers.insert(id, number).and_then(|n| self.containers.remove(&n)) {
            old.unwatch(&self.poll);
        }
        self.containers.insert(number, container);
        self.again.push_back(number);
    }

    /// A container's turn; `true` if it has more to do.
    fn serve(&mut self, number: u64) -> bool {
        let Some(container) = self.containers.get_mut(&number) else { return false };
        (0..ROUNDS).all(|_| container.round(&self.scratch, &mut self.buffer, &mut self.entries))
    }

    /// Ends what has nothing more to say.
    fn finish_drains(&mut self) {
        let now = Instant::now();
        for number in std::mem::take(&mut self.draining) {
            let Some(container) = self.containers.get_mut(&number) else { continue };
            if self.again.contains(&number) || !container.may_finish(now) {
                self.draining.push(number);
            } else {
                container.finish(&self.scratch, &mut self.buffer, &mut self.entries);
            }
        }
    }
}

impl Drop for Work {
    /// Whoever waits for an answer, or tells something after this, hears that there is none.
    fn drop(&mut self) {
        let mut waiting = self.commands.lock();
        waiting.closed = true;
        waiting.queue.clear();
    }
}

/// A stream of a container.
pub struct Output {
    pub stream: Stream,
    /// What the container writes to; `None` with a terminal.
    pub fifo: Option<Fifo>,
    /// What was taken over and is not yet in the log: the beginning of a line, and what continues it.
    pub rest: Fifo,
    /// Something is in the rest.
    pub waits: bool,
    /// Bytes at the rest's head that the attached have had.
    pub seen: usize,
}

impl Output {
    /// The next byte for the log comes out of the rest: something waits there, or there is nothing else.
    pub fn begins_in_rest(&self) -> bool {
        self.waits || self.fifo.is_none()
    }
}

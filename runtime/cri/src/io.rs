//! What containers read and write: FIFOs, logs, attached clients, terminals, execs.
//!
//! ```text
//! <state>/io/<id>/stdin    container: read only       daemon and keeper: the feeding end
//! <state>/io/<id>/stdout   container: read and write  daemon: moves it on to the rest
//! <state>/io/<id>/stdout.rest                         daemon: peek, log, discard
//! <state>/io/<id>/stderr, stderr.rest                 the same
//! ```
//! With a terminal there is only stdout.rest, filled from the terminal's master. The keeper holds all
//! of them.
//!
//! Bytes wait in a FIFO until they are in the log, so a daemon's death loses none; what was written but
//! not yet taken away when it was killed is in the log twice, one buffer at most. When the keeper dies
//! with it, a line whose beginning was said alone is lost or torn, and no more. A daemon that is slow makes
//! containers wait. [`pump`] has the details, [`line`] the format.
//!
//! What is not here: reading logs back (the kubelet does), exit codes ([`crate::process`]).

pub mod exec;
pub mod line;

mod attach;
mod feed;
mod log;
mod pump;
mod terminal;

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use keeper_api::{ProcessId, Stream};
use rustix::process::{Resource, Rlimit};
use sys::fifo::{self, Fifo};
use tokio::sync::oneshot;

pub use attach::AttachError;

use crate::process::{Io, Processes};
use log::LogFile;
use pump::{Command, Container, Output, Pump, Unavailable};

/// The thread that moves every container's output, and the processes behind them; all copies are the same.
#[derive(Clone, Debug)]
pub struct Streams {
    pump: Arc<Pump>,
    processes: Processes,
}

/// What a container's streams are to be.
#[derive(Clone, Debug)]
pub struct IoOptions {
    /// `<state>/io`
    pub dir: PathBuf,
    /// The container's process.
    pub id: ProcessId,
    /// It has a terminal: one stream both ways.
    pub tty: bool,
    /// It reads a stdin.
    pub stdin: bool,
    /// Its stdin ends with the first client that was attached to it.
    pub stdin_once: bool,
    /// Where its output is logged; `None` throws it away after the attached have had it.
    pub log_path: Option<PathBuf>,
}

/// A container's streams; all copies are the same.
#[derive(Clone, Debug)]
pub struct ContainerIo(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    streams: Streams,
    options: IoOptions,
    /// What the keeper and the table of processes hold while the container lives.
    held: Mutex<Vec<(Stream, Arc<OwnedFd>)>>,
    terminal: Mutex<Option<Arc<OwnedFd>>>,
}

/// Why streams could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum IoError {
    #[error("{} cannot be used for a container's streams", path.display())]
    Path { path: PathBuf, source: io::Error },
    #[error("the log {} cannot be opened", path.display())]
    Log { path: PathBuf, source: io::Error },
    #[error("the terminal cannot be resized")]
    Resize(#[source] io::Error),
    #[error("a container without a terminal cannot be resized")]
    NoTerminal,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Streams {
    /// Starts the thread. Lifts this process's limit of open files as far as it may go: each container
    /// takes up to ten.
    pub fn start(processes: Processes) -> io::Result<Streams> {
        let limit = rustix::process::getrlimit(Resource::Nofile);
        rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
        Ok(Streams { pump: Arc::new(Pump::start()?), processes })
    }
}

impl ContainerIo {
    /// Makes the FIFOs of a new container and opens its log.
    pub async fn create(streams: &Streams, options: IoOptions) -> Result<ContainerIo, IoError> {
        let folder = options.folder();
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|source| IoError::Path { path: folder, source })?;
        if options.stdin && !options.tty {
            let path = options.fifo(Stream::Stdin);
            fifo::create(&path).map_err(|source| IoError::Path { path, source })?;
        }
        ContainerIo::open(streams, options, None).await
    }

    /// Takes a container's streams up again after a restart of the daemon; `terminal` is what
    /// [`Processes::pty`] has of it.
    pub async fn reopen(
        streams: &Streams,
        options: IoOptions,
        terminal: Option<OwnedFd>,
    ) -> Result<ContainerIo, IoError> {
        let stdin = options.fifo(Stream::Stdin);
        let feeder = if options.stdin && !options.tty && stdin.exists() {
            fifo::open_feeder(&stdin).map_err(|source| IoError::Path { path: stdin, source })?
        } else {
            None
        };
        let (processes, id) = (streams.processes.clone(), options.id.clone());
        let io = ContainerIo::open(streams, options, feeder).await?;
        // Both may have died, and then nobody holds these.
        let held = io.held().clone();
        processes.hold(&id, held).await;
        io.started(terminal)?;
        Ok(io)
    }

    async fn open(
        streams: &Streams,
        options: IoOptions,
        feeder: Option<OwnedFd>,
    ) -> Result<ContainerIo, IoError> {
        let mut held: Vec<(Stream, Arc<OwnedFd>)> =
            feeder.map(|feeder| (Stream::Stdin, Arc::new(feeder))).into_iter().collect();
        let mut outputs = Vec::new();
        for (stream, waiting) in options.outputs() {
            let mut open = |stream: Stream, how: fn(&Path) -> io::Result<Fifo>| {
                let path = options.fifo(stream);
                let opened = fifo::create(&path).and_then(|()| how(&path));
                let fifo = opened.map_err(|source| IoError::Path { path, source })?;
                held.push((stream, fifo.share()));
                Ok::<Fifo, IoError>(fifo)
            };
            let rest = open(*waiting, Fifo::open_wide)?;
            let fifo = if options.tty { None } else { Some(open(*stream, Fifo::open)?) };
            let waits = !rest.is_empty();
            outputs.push(Output { stream: *stream, fifo, rest, waits, seen: 0 });
        }
        let log = open_log(options.log_path.clone()).await?;
        let container = Box::new(Container::new(outputs, log));
        streams.pump.tell(Command::Add { id: options.id.clone(), container })?;
        Ok(ContainerIo(Arc::new(Inner {
            streams: streams.clone(),
            options,
            held: Mutex::new(held),
            terminal: Mutex::new(None),
        })))
    }

    /// The descriptors for launching the container. To be asked for once.
    pub fn launch_stdio(&self) -> Result<Io, IoError> {
        let options = &self.0.options;
        let null = || open_null().map_err(|source| IoError::Path { path: "/dev/null".into(), source });
        if options.tty {
            let stdio = [null()?, null()?, null()?];
            return Ok(Io { stdio, held: self.held().clone(), tty: true, tied: false });
        }
        let stdin = if options.stdin {
            let path = options.fifo(Stream::Stdin);
            let opened = fifo::open_for_reader(&path);
            let (reader, feeder) = opened.map_err(|source| IoError::Path { path, source })?;
            self.held().push((Stream::Stdin, Arc::new(feeder)));
            reader
        } else {
            null()?
        };
        let writer = |stream| {
            let path = options.fifo(stream);
            fifo::open_for_writer(&path).map_err(|source| IoError::Path { path, source })
        };
        let stdio = [stdin, writer(Stream::Stdout)?, writer(Stream::Stderr)?];
        Ok(Io { stdio, held: self.held().clone(), tty: false, tied: false })
    }

    /// Takes the terminal of the container that was launched, if it has one.
    pub fn started(&self, terminal: Option<OwnedFd>) -> Result<(), IoError> {
        let Some(master) = terminal else { return Ok(()) };
        if let Err(error) = rustix::io::ioctl_fionbio(&master, true) {
            tracing::warn!(id = %self.0.options.id, %error, "a terminal cannot be used without waiting");
        }
        let master = Arc::new(master);
        *self.0.terminal.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&master));
        let id = self.0.options.id.clone();
        Ok(self.0.streams.pump.tell(Command::Terminal { id, master })?)
    }

    /// Opens the log anew: what comes from here on goes to the new file.
    pub async fn reopen_log(&self) -> Result<(), IoError> {
        let Some(path) = self.0.options.log_path.clone() else { return Ok(()) };
        let (done, opened) = oneshot::channel();
        let id = self.0.options.id.clone();
        self.0.streams.pump.tell(Command::Log { id, path: path.clone(), done })?;
        let opened = opened.await.map_err(|_| IoError::Unavailable(Unavailable))?;
        opened.map_err(|source| IoError::Log { path, source })
    }

    /// Sets the terminal's size in characters.
    pub fn resize(&self, width: u16, height: u16) -> Result<(), IoError> {
        let master = self.terminal().ok_or(IoError::NoTerminal)?;
        sys::pty::set_size(master.as_fd(), width, height).map_err(|errno| IoError::Resize(errno.into()))
    }

    /// After the end of the program: waits until all it has written is in the log and sent to the attached.
    pub async fn drained(&self) {
        let (done, drained) = oneshot::channel();
        let command = Command::Drain { id: self.0.options.id.clone(), done };
        if let Err(error) = self.0.streams.pump.tell(command) {
            tracing::error!(id = %self.0.options.id, %error, "a log may lack its end");
            return;
        }
        let _thread_ended = drained.await;
    }

    /// Waits as [`ContainerIo::drained`], then removes the FIFOs.
    pub async fn close(&self) {
        self.drained().await;
        self.discard();
    }

    /// Removes the FIFOs with whatever is in them: after [`ContainerIo::drained`].
    pub fn discard(&self) {
        if let Err(error) = self.0.streams.pump.tell(Command::Remove { id: self.0.options.id.clone() }) {
            tracing::error!(id = %self.0.options.id, %error, "a container's streams stay open");
        }
        self.held().clear();
        let folder = self.0.options.folder();
        if let Err(error) = fs::remove_dir_all(&folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %folder.display(), %error, "a container's FIFOs cannot be removed");
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Vec<(Stream, Arc<OwnedFd>)>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn terminal(&self) -> Option<Arc<OwnedFd>> {
        self.0.terminal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl IoOptions {
    fn folder(&self) -> PathBuf {
        self.dir.join(self.id.as_str())
    }

    fn fifo(&self, stream: Stream) -> PathBuf {
        self.folder().join(match stream {
            Stream::Stdin => "stdin",
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
            Stream::StdoutRest => "stdout.rest",
            Stream::StderrRest => "stderr.rest",
        })
    }

    /// Streams, and what waits of them.
    fn outputs(&self) -> &'static [(Stream, Stream)] {
        const ALL: &[(Stream, Stream)] =
            &[(Stream::Stdout, Stream::StdoutRest), (Stream::Stderr, Stream::StderrRest)];
        if self.tty { &ALL[..1] } else { ALL }
    }
}

/// Opening may wait for a disk.
async fn open_log(path: Option<PathBuf>) -> Result<Option<LogFile>, IoError> {
    let Some(path) = path else { return Ok(None) };
    let opened = tokio::task::spawn_blocking({
        let path = path.clone();
        move || LogFile::open(&path)
    });
    let opened = opened.await.map_err(io::Error::other).and_then(|opened| opened);
    opened.map(Some).map_err(|source| IoError::Log { path, source })
}

fn open_null() -> io::Result<OwnedFd> {
    Ok(fs::File::options().read(true).write(true).open("/dev/null")?.into())
}

/// What containers' streams leave on the host; logs are the kubelet's.
pub fn footprint(state_dir: &Path) -> sys::footprint::Footprint {
    sys::footprint::Footprint { files: vec![state_dir.join("io")], ..Default::default() }
}

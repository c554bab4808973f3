//! A state directory with everything in it, and small things that tests need.

use std::future::Future;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cri::io::{ContainerIo, IoOptions, Streams};
use cri::process::{ProcessId, Processes, ProcessesOptions, Running};
use keelson_cri as cri;
use keeper_api::{Channel, SOCKET};

/// Nothing that is waited for takes longer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A state directory; its keeper is killed with it.
pub struct Bench {
    pub folder: tempfile::TempDir,
}

/// The daemon's side, in this process.
pub struct Daemon {
    pub state: PathBuf,
    pub processes: Processes,
    pub streams: Streams,
}

impl Bench {
    pub fn new() -> Bench {
        Bench { folder: tempfile::tempdir().expect("a folder") }
    }

    pub fn state(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        kill_keeper(self.state());
    }
}

/// Kills whoever listens as the keeper, and waits until it is gone. `false`: nobody does.
pub fn kill_keeper(state: &Path) -> bool {
    let Ok(channel) = Channel::connect(&state.join(SOCKET)) else { return false };
    kill(channel.peer().expect("a peer").pid);
    true
}

/// Kills a process and waits until it is gone.
pub fn kill(pid: i32) {
    let Some(pidfd) = sys::exit::open(pid).expect("works") else { return };
    let _gone_already = sys::exit::kill(pidfd.as_fd());
    let poll = sys::poll::Poll::new().expect("epoll");
    poll.add(&pidfd, 0, sys::poll::Interest::Read).expect("added");
    assert!(!poll.wait(Some(PATIENCE)).expect("waits").is_empty(), "it ends");
}

impl Daemon {
    pub async fn start(state: &Path) -> Daemon {
        let mut options = ProcessesOptions::new(state.to_owned());
        options.keeper_cgroup = "none".to_owned();
        let processes = Processes::connect(options).await.expect("a keeper");
        let streams = Streams::start(processes.clone()).expect("a thread");
        Daemon { state: state.to_owned(), processes, streams }
    }

    pub fn log_path(&self, id: &str) -> PathBuf {
        self.state.join("logs").join(format!("{id}.log"))
    }

    pub fn io_options(&self, id: &str) -> IoOptions {
        IoOptions {
            dir: self.state.join("io"),
            id: name(id),
            tty: false,
            stdin: false,
            stdin_once: false,
            log_path: Some(self.log_path(id)),
        }
    }

    /// Launches a command with streams.
    pub async fn launch(&self, options: IoOptions, words: &[&str]) -> (ContainerIo, Running) {
        let id = options.id.clone();
        let io = ContainerIo::create(&self.streams, options).await.expect("streams");
        let stdio = io.launch_stdio().expect("descriptors");
        let plan = words.join("\0");
        let mut running =
            self.processes.launch_encoded(&id, plan.as_bytes(), stdio, None).await.expect("launches");
        io.started(running.pty.take()).expect("a terminal");
        (io, running)
    }

    /// Waits for the end and the whole log; the code, and the log's text without what stands before it.
    pub async fn finish(&self, id: &str, io: &ContainerIo) -> (i32, String) {
        let exit = self.processes.exited(&name(id)).await;
        io.drained().await;
        (exit.code(), text(&self.log_path(id)))
    }
}

pub fn name(id: &str) -> ProcessId {
    ProcessId::new(id).expect("a good name")
}

/// A log's lines without time and tag, partial ones joined.
pub fn text(log: &Path) -> String {
    let whole = std::fs::read_to_string(log).expect("a log");
    let mut text = String::new();
    for line in whole.split_terminator('\n') {
        let (time, rest) = line.split_at(31);
        time.trim_end().parse::<jiff::Timestamp>().expect("a time");
        let rest = rest.strip_prefix("stdout ").or(rest.strip_prefix("stderr ")).expect("a stream");
        text.push_str(&rest[2..]);
        if rest.starts_with('F') {
            text.push('\n');
        }
    }
    text
}

/// Runs a test's asynchronous body, with a deadline.
pub fn block_on(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(5 * PATIENCE, body).await.expect("in time") });
}

/// Waits until something is so. The events behind it are other processes' and have no descriptor here.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Pseudo-random numbers from a seed that is printed, so that a failure can be repeated.
pub struct Random(u64);

impl Random {
    pub fn new() -> Random {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |since| since.as_nanos() as u64 | 1)
        });
        println!("SEED={seed}");
        Random(seed)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

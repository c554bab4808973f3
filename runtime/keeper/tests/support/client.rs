//! A daemon as small as a test needs it: blocking calls with a deadline.

use std::collections::VecDeque;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use keeper_api::{Body, Call, Channel, ChannelError, Entry, Exit, Failure, Launch, ProcessId, SOCKET};
use sys::poll::{Interest, Poll};

const PATIENCE: Duration = Duration::from_secs(60);

/// A state directory and the keeper in it.
pub struct Bench {
    pub folder: tempfile::TempDir,
}

impl Bench {
    /// Starts a keeper.
    pub fn start() -> Bench {
        let bench = Bench { folder: tempfile::tempdir().expect("a folder") };
        bench.start_keeper();
        bench
    }

    pub fn start_keeper(&self) {
        let status = Command::new("/proc/self/exe")
            .args(["keeper", "--cgroup", "none", "--state"])
            .arg(self.folder.path())
            .status()
            .expect("runs");
        assert!(status.success(), "the keeper listens");
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.socket())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // By name of the socket's owner: whoever serves it now is what this test started.
        if let Ok(channel) = Channel::connect(&self.socket())
            && let Ok(peer) = channel.peer()
        {
            kill(peer.pid);
        }
    }
}

/// Kills a process and waits until it is gone.
pub fn kill(pid: i32) {
    let Some(pidfd) = sys::exit::open(pid).expect("works") else { return };
    kill_and_see(pidfd.as_fd());
}

/// Kills a process and waits until it has ended.
pub fn kill_and_see(pidfd: BorrowedFd<'_>) {
    sys::exit::kill(pidfd).expect("killed");
    let poll = Poll::new().expect("epoll");
    poll.add(pidfd, 0, Interest::Read).expect("added");
    assert!(!poll.wait(Some(PATIENCE)).expect("waits").is_empty(), "it ends");
}

/// A connection that has said hello.
pub struct Client {
    pub channel: Channel,
    pub keeper: i32,
    poll: Poll,
    serial: u64,
    pub events: VecDeque<(ProcessId, Exit)>,
}

/// A process that was launched.
#[derive(Debug)]
pub struct Launched {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub pty: Option<OwnedFd>,
}

impl Client {
    pub fn connect(socket: &Path) -> Client {
        let channel = Channel::connect(socket).expect("connects");
        let poll = Poll::new().expect("epoll");
        poll.add(&channel, 0, Interest::Read).expect("added");
        let mut client = Client { channel, keeper: 0, poll, serial: 0, events: VecDeque::new() };
        let (Body::Welcome { pid, .. }, _) = client.call(&Call::Hello, &[]) else { panic!("no welcome") };
        client.keeper = pid;
        client
    }

    /// Sends a call and waits for its first answer; events on the way are kept.
    pub fn call(&mut self, call: &Call, descriptors: &[BorrowedFd<'_>]) -> (Body, Vec<OwnedFd>) {
        self.ask(call, descriptors);
        self.answer().expect("answers")
    }

    /// Sends a call.
    pub fn ask(&mut self, call: &Call, descriptors: &[BorrowedFd<'_>]) {
        self.serial += 1;
        self.channel.send(self.serial, call, descriptors).expect("sends");
    }

    pub fn answer(&mut self) -> Result<(Body, Vec<OwnedFd>), ChannelError> {
        loop {
            let (serial, body, descriptors) = self.receive()?;
            if serial == self.serial {
                return Ok((body, descriptors));
            }
            self.event(serial, body);
        }
    }

    fn event(&mut self, serial: u64, body: Body) {
        match body {
            Body::Exited { id, exit } if serial == 0 => self.events.push_back((id, exit)),
            other => panic!("serial {serial}: {other:?}"),
        }
    }

    pub fn receive(&mut self) -> Result<(u64, Body, Vec<OwnedFd>), ChannelError> {
        let began = Instant::now();
        let mut buffer = Vec::new();
        loop {
            match self.channel.receive::<Body>(&mut buffer) {
                Ok((packet, descriptors)) => return Ok((packet.serial, packet.body, descriptors)),
                Err(ChannelError::WouldBlock) => {
                    assert!(began.elapsed() < PATIENCE, "no answer");
                    self.poll.wait(Some(PATIENCE)).expect("waits");
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Launches a plain command with stdio, opening the gate when it is reached.
    pub fn launch(
        &mut self,
        launch: Launch,
        words: &[&str],
        stdio: [BorrowedFd<'_>; 3],
        more: &[BorrowedFd<'_>],
    ) -> Result<Launched, Failure> {
        let (gate, mut opener) = std::io::pipe().expect("a pipe");
        let plan = plan(words);
        let mut descriptors = vec![plan.as_fd(), stdio[0], stdio[1], stdio[2], gate.as_fd()];
        descriptors.extend(more);
        let mut answer = self.call(&Call::Launch(launch), &descriptors);
        drop(gate);
        if let (Body::AtGate { .. }, fds) = &answer {
            assert_eq!(fds.len(), 1, "a pidfd");
            // A child that died at the gate has closed it.
            let _ = opener.write_all(b"!");
            answer = self.answer().expect("answers");
        }
        match answer {
            (Body::Started { pid, pty, .. }, fds) => {
                let mut fds = fds.into_iter();
                let launched = Launched { pid, pidfd: fds.next().expect("a pidfd"), pty: fds.next() };
                assert_eq!(launched.pty.is_some(), pty);
                Ok(launched)
            }
            (Body::Failed(failure), _) => Err(failure),
            (other, _) => panic!("{other:?}"),
        }
    }

    /// Launches a command with nothing for stdio.
    pub fn run(&mut self, id: &str, words: &[&str]) -> Result<Launched, Failure> {
        let null = std::fs::File::options().read(true).write(true).open("/dev/null").expect("opens");
        self.launch(launch(id), words, [null.as_fd(); 3], &[])
    }

    /// Waits for the end of a process.
    pub fn exited(&mut self, id: &str) -> Exit {
        loop {
            if let Some(at) = self.events.iter().position(|(ended, _)| ended.as_str() == id) {
                return self.events.remove(at).expect("just found").1;
            }
            let (serial, body, _) = self.receive().expect("an event");
            self.event(serial, body);
        }
    }

    /// All pages of the list, descriptors per process.
    pub fn list(&mut self) -> Vec<(Entry, Vec<OwnedFd>)> {
        let mut all: Vec<(Entry, Vec<OwnedFd>)> = Vec::new();
        loop {
            let after = all.last().map(|(entry, _)| entry.id.clone());
            let (Body::Listing { entries, more }, fds) = self.call(&Call::List { after }, &[]) else {
                panic!("no listing")
            };
            let mut fds = fds.into_iter();
            for entry in entries {
                let count = 1 + usize::from(entry.pty) + entry.held.len();
                let own: Vec<OwnedFd> = fds.by_ref().take(count).collect();
                assert_eq!(own.len(), count);
                all.push((entry, own));
            }
            if !more {
                return all;
            }
        }
    }

    pub fn forget(&mut self, id: &str) -> Body {
        self.call(&Call::Forget { id: name(id) }, &[]).0
    }
}

/// A plan of the plain launcher.
pub fn plan(words: &[&str]) -> OwnedFd {
    sys::memfd::sealed("plan", words.join("\0").as_bytes()).expect("a memfd")
}

pub fn name(id: &str) -> ProcessId {
    ProcessId::new(id).expect("a good name")
}

pub fn launch(id: &str) -> Launch {
    Launch { id: name(id), tty: false, cgroup: false, held: vec![], preserve: 0, tied: false }
}

//! The node's agent, as the plugin sees it: a socket, one call, one answer, all of it bounded in time.
//!
//! The connection is made before anything is touched: where no agent is, nothing has to be undone.
//!
//! Reference: cni-api's `agent`, the messages.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni_api::agent::{AgentCall, LINE_BYTES_MAX, read_answer, write_call};
use cni_api::{CniError, Code};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::config::{Config, Mode};

/// How long ADD and CHECK wait: programs are loaded once per node, a pod takes milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long what succeeds without the agent waits for it.
pub const COURTESY: Duration = Duration::from_secs(2);

/// A connection to the agent.
#[derive(Debug)]
pub struct Agent {
    socket: PathBuf,
    stream: UnixStream,
    announced: bool,
}

/// Why the agent did not do it.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("no network agent on this node answers at {}", socket.display())]
    Absent { socket: PathBuf, source: io::Error },
    #[error("the network agent did not answer within {} s", waited.as_secs())]
    Late { waited: Duration },
    #[error("the network agent ended while it was asked")]
    Broken { source: io::Error },
    #[error("{0}")]
    Refused(CniError),
}

impl Agent {
    /// The agent that the configuration asks for; none where pods are wired without one.
    pub fn of(config: &Config, patience: Duration) -> Result<Option<Agent>, AgentError> {
        let Mode::Auto { socket, plain_without_agent } = &config.mode else { return Ok(None) };
        match Agent::connect(socket, patience) {
            Err(AgentError::Absent { .. }) if *plain_without_agent => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    fn connect(socket: &Path, patience: Duration) -> Result<Agent, AgentError> {
        let absent = |source: io::Error| AgentError::Absent { socket: socket.to_owned(), source };
        let connect = || {
            let address = SocketAddrUnix::new(socket)?;
            let flags = SocketFlags::CLOEXEC;
            let stream = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            // Also bounds connecting: an agent that is stopped does not accept.
            for direction in [sockopt::Timeout::Send, sockopt::Timeout::Recv] {
                sockopt::set_socket_timeout(&stream, direction, Some(patience))?;
            }
            rustix::net::connect(&stream, &address)?;
            Ok(stream)
        };
        let stream = connect().map_err(|errno: rustix::io::Errno| absent(errno.into()))?;
        Ok(Agent { socket: socket.to_owned(), stream: UnixStream::from(stream), announced: false })
    }

    /// Says what will be asked, and does not wait. Who does not hear it now says so when it is asked.
    pub fn announce(&mut self, call: &AgentCall) {
        let line = write_call(call) + "\n";
        self.announced = self.stream.write_all(line.as_bytes()).is_ok();
    }

    /// Asks, and waits for the answer.
    pub fn ask(self, call: &AgentCall, patience: Duration) -> Result<(), AgentError> {
        let (socket, announced) = (self.socket.clone(), self.announced);
        match self.ask_once(call, patience) {
            // An agent of an earlier release, which knows no announcements.
            Err(error) if announced && error.is_misunderstanding() => {
                Agent::connect(&socket, patience)?.ask_once(call, patience)
            }
            outcome => outcome,
        }
    }

    fn ask_once(mut self, call: &AgentCall, patience: Duration) -> Result<(), AgentError> {
        let mut line = write_call(call);
        line.push('\n');
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AgentError::Late { waited: patience },
            _ => AgentError::Broken { source },
        };
        self.stream.write_all(line.as_bytes()).map_err(failed)?;
        let mut answer = Vec::new();
        let most = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
        BufReader::new(self.stream.take(most)).read_until(b'\n', &mut answer).map_err(failed)?;
        if answer.last() != Some(&b'\n') {
            let source = io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("no whole answer on {}", self.socket.display()),
            );
            return Err(AgentError::Broken { source });
        }
        read_answer(&answer).map_err(AgentError::Refused)
    }
}

impl AgentError {
    fn is_misunderstanding(&self) -> bool {
        match self {
            AgentError::Refused(error) => error.code == Code::Decode as u32,
            AgentError::Broken { .. } => true,
            AgentError::Absent { .. } | AgentError::Late { .. } => false,
        }
    }

    /// What the runtime is told: its own words where the agent said something, else to come again.
    #[must_use]
    pub fn told(&self) -> CniError {
        match self {
            AgentError::Refused(error) => error.clone(),
            other => {
                let cause = std::error::Error::source(other).map(ToString::to_string).unwrap_or_default();
                let remedy = "start keelson net-agent, or set \"mode\": \"plain\"";
                let details = if cause.is_empty() { remedy.to_owned() } else { format!("{cause}; {remedy}") };
                CniError::new(Code::TryAgainLater, other.to_string()).details(details)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// An agent that does `act` with its one connection.
    fn ask(act: impl FnOnce(UnixStream) + Send + 'static, patience: Duration) -> Result<(), AgentError> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("net.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let thread = std::thread::spawn(move || act(listener.accept().unwrap().0));
        let agent = Agent::connect(&socket, patience).unwrap();
        let outcome = agent.ask(&AgentCall::Status { network: "pods".to_owned() }, patience);
        thread.join().unwrap();
        outcome
    }

    fn says(answer: &'static str) -> impl FnOnce(UnixStream) + Send + 'static {
        move |mut stream: UnixStream| {
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    }

    #[test]
    fn answers_are_understood_or_told_as_what_they_are() {
        let ok = ask(says("{\"version\":1}\n"), PATIENCE);
        assert!(ok.is_ok(), "{ok:?}");
        let refused = ask(says("{\"version\":1,\"error\":{\"code\":42,\"msg\":\"no\"}}\n"), PATIENCE);
        assert_eq!(refused.unwrap_err().told().code, 42);
        let cut = ask(says("{\"version\":1}"), PATIENCE).unwrap_err();
        assert!(matches!(cut, AgentError::Broken { .. }), "{cut}");
        assert_eq!(cut.told().code, 11);
        let newer = ask(says("{\"version\":9}\n"), PATIENCE).unwrap_err().told();
        assert_eq!(newer.code, 1);
    }

    #[test]
    fn an_agent_that_knows_no_announcements_is_asked_again() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("net.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let lines = |stream: UnixStream, answer: &str| {
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            (&stream).write_all(answer.as_bytes()).unwrap();
            line
        };
        let thread = std::thread::spawn(move || {
            let first =
                lines(listener.accept().unwrap().0, "{\"version\":1,\"error\":{\"code\":6,\"msg\":\"?\"}}\n");
            (first, lines(listener.accept().unwrap().0, "{\"version\":1}\n"))
        });
        let mut agent = Agent::connect(&socket, PATIENCE).unwrap();
        agent.announce(&AgentCall::Announce { link: "kn1".to_owned(), pod: Default::default() });
        let asked = agent.ask(&AgentCall::Status { network: "pods".to_owned() }, PATIENCE);
        assert!(asked.is_ok(), "{asked:?}");
        let (first, second) = thread.join().unwrap();
        assert!(first.contains("announce") && second.contains("status"), "{first}{second}");
    }

    #[test]
    fn waiting_is_bounded() {
        const SHORT: Duration = Duration::from_millis(50);
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let held = move |stream: UnixStream| {
            let _ = wait.recv();
            drop(stream);
        };
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("net.sock");
        let absent = Agent::connect(&socket, SHORT).unwrap_err();
        assert!(absent.told().msg.contains("net.sock"), "{absent}");
        let listener = UnixListener::bind(&socket).unwrap();
        let thread = std::thread::spawn(move || held(listener.accept().unwrap().0));
        let agent = Agent::connect(&socket, SHORT).unwrap();
        let late = agent.ask(&AgentCall::Status { network: "pods".to_owned() }, SHORT).unwrap_err();
        assert!(matches!(late, AgentError::Late { .. }), "{late}");
        drop(release);
        thread.join().unwrap();
    }
}

//! Finding the keeper, starting one, and asking it for everything it holds.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use keeper_api::{Body, Call, Channel, ChannelError, Entry, Exit, ProcessId, SOCKET};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{ProcessesOptions, ready};

/// The wait after a first failure; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(10);
/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Attempts before a daemon that starts gives up.
pub const START_ATTEMPTS: u32 = 8;
/// How long a keeper may take to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);

/// Why there is no connection to a keeper.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{} cannot be run as the keeper", exe.display())]
    Run { exe: PathBuf, source: io::Error },
    #[error("the keeper did not start: {status}")]
    Start { status: std::process::ExitStatus },
    #[error("{} does not answer", socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    #[error("the keeper does not understand this daemon")]
    Protocol(#[from] ChannelError),
    #[error("the keeper said something else than was asked: {0}")]
    Unexpected(String),
    #[error("the keeper took longer than {} s to answer", ANSWER_PATIENCE.as_secs())]
    Slow,
    #[error("the records of processes cannot be read")]
    Records(#[source] io::Error),
}

/// A connection on which everything was asked for.
pub struct Connected {
    pub channel: AsyncFd<Channel>,
    pub keeper: i32,
    /// The version of its executable.
    pub build: String,
    pub entries: Vec<(Entry, Vec<OwnedFd>)>,
    /// Ends that were told meanwhile.
    pub ends: Vec<(ProcessId, Exit)>,
}

/// Tries until it works, or `attempts` have failed.
pub async fn establish(options: ProcessesOptions, attempts: Option<u32>) -> Result<Connected, ConnectError> {
    let mut wait = FIRST_WAIT;
    let mut tried = 0;
    loop {
        let error = match tokio::time::timeout(ANSWER_PATIENCE, once(&options)).await {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(error)) => error,
            Err(_) => ConnectError::Slow,
        };
        tried += 1;
        if attempts.is_some_and(|most| tried >= most) {
            return Err(error);
        }
        tracing::warn!(error = &error as &dyn std::error::Error, attempt = tried, "no keeper yet");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

async fn once(options: &ProcessesOptions) -> Result<Connected, ConnectError> {
    let socket = options.state_dir.join(SOCKET);
    let channel = match Channel::connect(&socket) {
        Ok(channel) => channel,
        Err(_) => {
            start(options).await?;
            Channel::connect(&socket).map_err(|source| ConnectError::Connect { socket, source })?
        }
    };
    let channel =
        ready::register(channel, Interest::READABLE | Interest::WRITABLE).map_err(ChannelError::Socket)?;
    let mut asking = Asking { channel, serial: 0, ends: Vec::new() };
    let (keeper, build) = match asking.ask(&Call::Hello).await? {
        (Body::Welcome { pid, build, .. }, _) => (pid, build),
        (other, _) => return Err(ConnectError::Unexpected(format!("{other:?}"))),
    };
    let entries = asking.list().await?;
    Ok(Connected { channel: asking.channel, keeper, build, entries, ends: asking.ends })
}

/// Runs the first stage, which ends when a keeper listens.
async fn start(options: &ProcessesOptions) -> Result<(), ConnectError> {
    let status = tokio::process::Command::new(&options.keeper_exe)
        .arg("keeper")
        .arg("--state")
        .arg(&options.state_dir)
        .arg("--cgroup")
        .arg(&options.keeper_cgroup)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .await
        .map_err(|source| ConnectError::Run { exe: options.keeper_exe.clone(), source })?;
    if status.success() { Ok(()) } else { Err(ConnectError::Start { status }) }
}

/// One question at a time, before the owner uses the connection.
struct Asking {
    channel: AsyncFd<Channel>,
    serial: u64,
    ends: Vec<(ProcessId, Exit)>,
}

impl Asking {
    async fn ask(&mut self, call: &Call) -> Result<(Body, Vec<OwnedFd>), ConnectError> {
        self.serial += 1;
        self.channel.get_ref().send(self.serial, call, &[])?;
        let mut buffer = Vec::new();
        loop {
            let mut ready = self.channel.readable().await.map_err(ChannelError::Socket)?;
            match ready.get_inner().receive::<Body>(&mut buffer) {
                Ok((packet, fds)) if packet.serial == self.serial => return Ok((packet.body, fds)),
                Ok((packet, _)) => match packet.body {
                    Body::Exited { id, exit } => self.ends.push((id, exit)),
                    other => return Err(ConnectError::Unexpected(format!("{other:?}"))),
                },
                Err(ChannelError::WouldBlock) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn list(&mut self) -> Result<Vec<(Entry, Vec<OwnedFd>)>, ConnectError> {
        let mut all: Vec<(Entry, Vec<OwnedFd>)> = Vec::new();
        loop {
            let after = all.last().map(|(entry, _)| entry.id.clone());
            let (entries, more, fds) = match self.ask(&Call::List { after }).await? {
                (Body::Listing { entries, more }, fds) => (entries, more, fds),
                (other, _) => return Err(ConnectError::Unexpected(format!("{other:?}"))),
            };
            let mut fds = fds.into_iter();
            for entry in entries {
                let own: Vec<OwnedFd> =
                    fds.by_ref().take(1 + usize::from(entry.pty) + entry.held.len()).collect();
                all.push((entry, own));
            }
            if !more {
                return Ok(all);
            }
        }
    }
}

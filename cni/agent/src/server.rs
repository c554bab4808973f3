//! `net.sock`: takes one call per connection from the plugin, after its announcement perhaps, and gives its answer.
//!
//! Root only: the socket's mode says so, and the kernel's word about the caller is checked again.
//!
//! **Invariants.** At most [`CONNECTIONS_MAX`] calls at a time, each read within [`READ_PATIENCE`], none longer than
//! the protocol allows: a caller that stalls costs its own place only.
//!
//! Reference: cni-api's `agent`.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cni_api::agent::{AgentCall, LINE_BYTES_MAX, read_call, write_answer};
use cni_api::{CniError, Code};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A kubelet makes fewer pods at a time.
const CONNECTIONS_MAX: usize = 256;
/// Between connecting and asking, a plugin wires the pod.
const READ_PATIENCE: Duration = Duration::from_secs(30);
/// Calls that wait for the agent.
pub const QUEUE: usize = 64;

/// A call, and where its answer goes.
#[derive(Debug)]
pub struct Asked {
    pub call: AgentCall,
    pub answer: oneshot::Sender<Result<(), CniError>>,
}

/// The listening socket; removed when dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// The caller holds the state folder's lock: a socket that is there is a dead agent's.
    pub fn bind(path: &Path) -> io::Result<Server> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Server { listener, path: path.to_owned() })
    }

    /// Serves until it is told to stop; calls that were taken are answered.
    pub async fn run(self, calls: mpsc::Sender<Asked>, stopping: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut open = JoinSet::new();
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { break };
            let accepted = tokio::select! {
                () = stopping.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let calls = calls.clone();
                    open.spawn(async move {
                        let _place = place;
                        if let Err(error) = serve(stream, &calls).await {
                            tracing::debug!(%error, "a call of the plugin broke off");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a call of the plugin");
                    // Out of descriptors, most likely: give others time to close theirs.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            while open.try_join_next().is_some() {}
        }
        drop(calls);
        // Those that have not asked yet ask somebody else.
        open.shutdown().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that cannot be removed refuses connections, which says the same.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve(stream: UnixStream, calls: &mpsc::Sender<Asked>) -> io::Result<()> {
    let caller = stream.peer_cred()?;
    let (from, mut to) = stream.into_split();
    let answer = if caller.uid() == 0 {
        let mut reader = BufReader::new(from);
        let mut call = next(&mut reader).await?;
        if let Some(Ok(announcement @ AgentCall::Announce { .. })) = call {
            tell(announcement, calls).await;
            call = next(&mut reader).await?;
        }
        match call {
            // The plugin failed before it had anything to register.
            None => return Ok(()),
            Some(Ok(call)) => ask(call, calls).await,
            Some(Err(error)) => Err(error),
        }
    } else {
        let msg = format!("user {} may not ask the network agent", caller.uid());
        Err(CniError::new(Code::InvalidEnvironment, msg))
    };
    let mut line = write_answer(&answer);
    line.push('\n');
    to.write_all(line.as_bytes()).await
}

/// Reads a call; none: there is no other.
async fn next(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Result<AgentCall, CniError>>> {
    let mut line = Vec::new();
    let mut bounded = reader.take(u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX));
    match timeout(READ_PATIENCE, bounded.read_until(b'\n', &mut line)).await {
        Ok(read) => drop(read?),
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    }
    Ok((!line.is_empty()).then(|| read_call(&line)))
}

/// Says something that is not answered.
async fn tell(call: AgentCall, calls: &mpsc::Sender<Asked>) {
    // An agent that is stopping does not want to know.
    let _ = calls.send(Asked { call, answer: oneshot::channel().0 }).await;
}

async fn ask(call: AgentCall, calls: &mpsc::Sender<Asked>) -> Result<(), CniError> {
    let stopped = || CniError::new(Code::TryAgainLater, "the network agent is stopping");
    let (answer, answered) = oneshot::channel();
    calls.send(Asked { call, answer }).await.map_err(|_| stopped())?;
    answered.await.unwrap_or_else(|_| Err(stopped()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    /// Says `line` as a client would, and gives what came back.
    fn say(path: &Path, line: &[u8]) -> String {
        let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
        stream.write_all(line).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[tokio::test]
    async fn calls_are_answered_and_nonsense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.sock");
        std::fs::write(&path, "left by an agent that was killed").unwrap();
        let server = Server::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (calls, mut asked) = mpsc::channel::<Asked>(QUEUE);
        let stopping = CancellationToken::new();
        let running = tokio::spawn(server.run(calls, stopping.clone()));
        let agent = tokio::spawn(async move {
            while let Some(asked) = asked.recv().await {
                let known = matches!(&asked.call, AgentCall::Status { network } if network == "pods");
                let answer = known.then_some(()).ok_or(CniError::new(Code::TryAgainLater, "no"));
                let _ = asked.answer.send(answer);
            }
        });
        let ask = |line: &'static [u8]| {
            let path = path.clone();
            async move { tokio::task::spawn_blocking(move || say(&path, line)).await.unwrap() }
        };
        if rustix::process::geteuid().is_root() {
            let status = ask(b"{\"version\":1,\"call\":\"status\",\"network\":\"pods\"}\n").await;
            assert_eq!(status, "{\"version\":1}\n");
            let other = ask(b"{\"version\":1,\"call\":\"status\",\"network\":\"x\"}\n").await;
            assert!(other.contains("\"code\":11"), "{other}");
            assert!(ask(b"nonsense\n").await.contains("\"code\":6"));
            assert!(ask(b"{\"version\":7}\n").await.contains("\"code\":1,"));
            assert_eq!(ask(b"").await, "");
            const ANNOUNCED: &str = "{\"version\":1,\"call\":\"announce\",\"link\":\"kn1\",\"pod\":{}}\n";
            const BOTH: &str = concat!(
                "{\"version\":1,\"call\":\"announce\",\"link\":\"kn1\",\"pod\":{}}\n",
                "{\"version\":1,\"call\":\"status\",\"network\":\"pods\"}\n"
            );
            assert_eq!(ask(BOTH.as_bytes()).await, "{\"version\":1}\n", "one answer, to what is asked");
            assert_eq!(ask(ANNOUNCED.as_bytes()).await, "", "none to an announcement");
        } else {
            assert!(ask(b"").await.contains("\"code\":4"));
        }
        stopping.cancel();
        running.await.unwrap();
        agent.await.unwrap();
        assert!(!path.exists());
    }
}

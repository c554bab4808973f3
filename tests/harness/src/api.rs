//! A real `keelson apiserver` in a process of its own, and clients for it that hide nothing.
//!
//! ```text
//!   Server::start ─► free port on loopback, temporary data folder ─► kill -9, start again on the same port ─► drop
//! ```
//!
//! A server is on the host alone ([`crate::host`]): what its test leaves behind is found when it drops.
//!
//! The server says on its standard error that it serves; nothing here polls. Clients are blocking, one connection
//! each ([`client`]); [`Server::kubectl`] runs the real program with the server's own kubeconfig.

mod client;
mod event_loop;
mod http;

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host::{self, Guard};

pub use client::{Client, Credential, Unread, Watch};
pub use event_loop::EventLoop;
pub use http::Answer;

/// How long a start may take on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);
/// What the server says when it is ready.
const READY: &str = "the API is served";

/// A running API server with a data folder of its own.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    folder: tempfile::TempDir,
    more: Vec<String>,
    address: SocketAddr,
    child: Option<Child>,
    // Last: the host is compared after everything else is gone. None where the test compares it.
    _guard: Option<Guard>,
}

impl Server {
    /// Starts `program apiserver` and waits until it serves.
    #[must_use]
    pub fn start(program: impl AsRef<Path>) -> Server {
        Server::start_with(program, &[])
    }

    /// The same, with further arguments.
    #[must_use]
    pub fn start_with(program: impl AsRef<Path>, more: &[&str]) -> Server {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        let guard = host::exclusive(&test);
        let mut server = Server::new(program.as_ref(), more);
        server._guard = Some(guard);
        server.started()
    }

    /// The same for a test that holds the host already; the server has to be gone before its guard finishes.
    #[must_use]
    pub fn start_under(_guard: &Guard, program: impl AsRef<Path>, more: &[&str]) -> Server {
        Server::new(program.as_ref(), more).started()
    }

    fn new(program: &Path, more: &[&str]) -> Server {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Server {
            program: program.to_owned(),
            folder,
            more: more.iter().map(|argument| (*argument).to_owned()).collect(),
            address: free_address(),
            child: None,
            _guard: None,
        }
    }

    fn started(mut self) -> Server {
        self.restart();
        self
    }

    /// Starts it on the same port and data, after [`Server::kill`] or [`Server::stop`].
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "the server runs already");
        let mut child = self.command().stderr(Stdio::piped()).spawn().expect("starting the API server");
        let output = child.stderr.take().expect("its standard error");
        let (ready, told) = mpsc::channel();
        // Ends with the server: reads what it says until then, so that it never waits for a reader.
        std::thread::spawn(move || {
            let mut said = String::new();
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if line.contains(READY) {
                    let _ = ready.send(Ok(()));
                }
                said.push_str(&line);
                said.push('\n');
            }
            let _ = ready.send(Err(said));
        });
        self.child = Some(child);
        match told.recv_timeout(START_LIMIT) {
            Ok(Ok(())) => {}
            Ok(Err(said)) => panic!("the API server ended at its start:\n{said}"),
            Err(error) => panic!("the API server does not serve: {error}"),
        }
    }

    /// The command that starts it.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("apiserver")
            .arg("--data-dir")
            .arg(self.data())
            .args(["--bind-address", &self.address.ip().to_string()])
            .args(["--secure-port", &self.address.port().to_string()])
            .arg("--write-kubeconfig")
            .arg(self.kubeconfig())
            .args(&self.more)
            .env("KEELSON_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// SIGKILL, now.
    pub fn kill(&mut self) {
        self.end(Signal::SIGKILL);
    }

    /// SIGTERM, and waits for its end.
    pub fn stop(&mut self) {
        self.end(Signal::SIGTERM);
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut child) = self.child.take() {
            let _ = kill(Pid::from_raw(child.id().cast_signed()), signal);
            child.wait().expect("the end of the API server");
        }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running server").id()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("admin.conf")
    }

    /// A place for files of the test, gone with the server.
    #[must_use]
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The administrator.
    #[must_use]
    pub fn admin(&self) -> Client {
        administrator(&self.kubeconfig(), self.address)
    }

    /// Somebody else.
    #[must_use]
    pub fn client(&self, credential: Credential) -> Client {
        let content = std::fs::read_to_string(self.kubeconfig()).expect("the kubeconfig");
        Client::new(self.address, &field(&content, "certificate-authority-data"), credential)
    }

    /// Runs kubectl as the administrator.
    #[must_use]
    pub fn kubectl<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        self.kubectl_command().args(arguments).output().expect("running kubectl")
    }

    /// kubectl with this server's kubeconfig and a cache of its own.
    #[must_use]
    pub fn kubectl_command(&self) -> Command {
        let mut command = Command::new("kubectl");
        command
            .env("KUBECONFIG", self.kubeconfig())
            .env("KUBECACHEDIR", self.scratch("kubectl-cache"))
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Below the ports that the kernel gives to connections: nobody takes one of these by accident.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 10_000;

/// A port that nobody listens on, and that no other call of this process gives.
#[must_use]
pub fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let begin = u16::try_from(std::process::id() % u32::from(PORTS)).expect("a number below PORTS");
    let free = (0..PORTS).find_map(|_| {
        let number = begin.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, FIRST_PORT + number)).ok()?;
        Some(listener.local_addr().expect("its address").port())
    });
    free.expect("a free port")
}

/// One of this host, with a [`free_port`].
#[must_use]
pub fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

/// Who a kubeconfig of a certificate belongs to, as a client of a server.
#[must_use]
pub fn administrator(kubeconfig: &Path, address: SocketAddr) -> Client {
    let content = std::fs::read_to_string(kubeconfig).expect("the kubeconfig");
    let (chain, key) = (field(&content, "client-certificate-data"), field(&content, "client-key-data"));
    Client::new(
        address,
        &field(&content, "certificate-authority-data"),
        Credential::Certificate { chain, key },
    )
}

/// A base64 field of the kubeconfig.
fn field(content: &str, name: &str) -> String {
    let line = content.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
    let bytes = STANDARD.decode(line.unwrap_or_else(|| panic!("no {name}"))).expect("base64");
    String::from_utf8(bytes).expect("PEM is text")
}

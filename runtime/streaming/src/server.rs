//! The CRI streaming server: plain HTTP/1.1 on loopback, with single-use tokens in place of logins.
//!
//! ```text
//! CRI Exec ──▶ url_for: token, 60 s ──▶ http://127.0.0.1:port/exec/<token>
//! client ──▶ GET or POST that path ──▶ token taken ──▶ protocol agreed ──▶ 101 ──▶ session ──▶ Backend
//!                                       └ 404           └ 400, 403
//! ```
//!
//! Each connection is one task, from accept to the end of its session; they end with the server.
//! **Invariants.** A token opens one session, of its own kind. At most [`tokens::MAX_IN_FLIGHT`] tokens
//! wait and [`MAX_CONNECTIONS`] connections are open.
//!
//! Reference: k8s.io/cri-streaming server.

mod session;
mod tokens;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::session::Session;
use self::tokens::Tokens;
use crate::backend::Backend;
use crate::request::{Request, RequestError};

pub use tokens::{MAX_IN_FLIGHT, TOKEN_LIFETIME};

/// How long a session may carry nothing at all.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(4 * 60 * 60);
/// The most connections at once; further ones wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 1024;
/// How long a client may take to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest request head.
const MAX_HEAD: usize = 32 * 1024;
/// How long to wait when the kernel has no descriptor for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits that a test may want to be shorter.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    pub idle_timeout: Duration,
}

/// A handle; clones share one table of tokens.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    address: SocketAddr,
    listener: TcpListener,
    tokens: Tokens,
    backend: Arc<dyn Backend>,
    options: ServerOptions,
}

// === impl ServerOptions ===

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions { idle_timeout: IDLE_TIMEOUT }
    }
}

// === impl Server ===

impl Server {
    /// Takes a listening socket, which has to be on loopback: what comes in is plain text.
    pub fn new(
        listener: TcpListener,
        backend: Arc<dyn Backend>,
        options: ServerOptions,
    ) -> io::Result<Server> {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            let text = format!("{address} is not on loopback, and the streaming server has no encryption");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        listener.set_nonblocking(true)?;
        let shared = Shared { address, listener, tokens: Tokens::default(), backend, options };
        Ok(Server { shared: Arc::new(shared) })
    }

    /// Binds `address` ("127.0.0.1:0"; no names) and goes on as [`Server::new`].
    pub fn bind(address: &str, backend: Arc<dyn Backend>, options: ServerOptions) -> io::Result<Server> {
        // Parsed here: binding a text would drag the C library's resolver into the executable.
        let parsed: SocketAddr = address.parse().map_err(|_| {
            let text = format!("{address:?} is not an IP address with a port");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
        Server::new(TcpListener::bind(parsed)?, backend, options)
    }

    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// The listening socket, for whoever keeps it open over a restart.
    pub fn listener(&self) -> &TcpListener {
        &self.shared.listener
    }

    /// Keeps the request for 60 seconds and says where its one client finds it.
    pub fn url_for(&self, request: Request) -> Result<String, RequestError> {
        request.validate()?;
        let kind = session::kind(&request);
        let token = self.shared.tokens.insert(request)?;
        Ok(format!("http://{}/{kind}/{token}", self.shared.address))
    }

    /// Serves until cancelled; then ends every session and returns.
    pub async fn serve(&self, cancel: CancellationToken) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.shared.listener.try_clone()?)?;
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                (stream, place) = accept(&listener, &room) => {
                    connections.spawn(connection(stream, self.shared.clone(), place));
                }
                Some(_) = connections.join_next() => {}
            }
        }
        connections.shutdown().await;
        Ok(())
    }
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &tokio::net::TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    let place = room.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no connection was accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection: HTTP until a request opens a session, then the session.
async fn connection(stream: TcpStream, shared: Arc<Shared>, _place: Option<OwnedSemaphorePermit>) {
    // Keystrokes are small and must not wait for each other.
    let _ = stream.set_nodelay(true);
    let opened: Arc<Mutex<Option<Session>>> = Arc::default();
    let service = service_fn(|request: http::Request<Incoming>| {
        let (answer, session) = session::open(request, &shared.tokens);
        if session.is_some() {
            *opened.lock().unwrap_or_else(PoisonError::into_inner) = session;
        }
        async move { Ok::<_, Infallible>(answer.map(|text| Full::new(Bytes::from(text)))) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(error = &error as &dyn std::error::Error, "an HTTP connection broke");
    }
    let session = opened.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(session) = session {
        session.run(shared.backend.clone(), shared.options.idle_timeout).await;
    }
}

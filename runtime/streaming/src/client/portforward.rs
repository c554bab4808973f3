//! A client's port-forward session: connections into a sandbox, over SPDY or SPDY inside a WebSocket.

use std::sync::atomic::{AtomicU64, Ordering};

use http::Uri;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::ClientError;
use crate::portforward::{PORT, REQUEST_ID, SPDY_PROTOCOLS, STREAM_TYPE, TUNNEL_PROTOCOL};
use crate::spdy::{Connection, Headers, Opener, Role, Stream, StreamReader};
use crate::websocket::{Role as WebSocketRole, Tunnel};

/// The longest error text that is read.
const MAX_ERROR: u64 = 64 * 1024;

/// An open session.
pub struct PortForward {
    opener: Opener,
    connection: Connection,
    next_request: AtomicU64,
}

/// Why a connection failed, once it has.
pub struct Failure(StreamReader);

/// Opens a session over SPDY.
pub async fn spdy<T>(io: T, to: &Uri) -> Result<PortForward, ClientError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (io, _) = super::spdy(io, to, SPDY_PROTOCOLS).await?;
    Ok(PortForward::new(Connection::new(io, Role::Client, None)))
}

/// Opens a session over SPDY inside a WebSocket.
pub async fn tunnel<T>(io: T, to: &Uri) -> Result<PortForward, ClientError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (io, _) = super::websocket(io, to, &[TUNNEL_PROTOCOL]).await?;
    let tunnel = Tunnel::new(io, WebSocketRole::Client).await;
    Ok(PortForward::new(Connection::new(tunnel, Role::Client, None)))
}

// === impl PortForward ===

impl PortForward {
    fn new(connection: Connection) -> PortForward {
        PortForward { opener: connection.opener(), connection, next_request: AtomicU64::new(0) }
    }

    /// One connection to a port inside the sandbox.
    pub async fn open(&self, port: u16) -> Result<(Stream, Failure), ClientError> {
        let request = self.next_request.fetch_add(1, Ordering::Relaxed).to_string();
        let headers = |kind: &str| {
            Headers::new()
                .with(STREAM_TYPE, kind)
                .with(PORT, port.to_string())
                .with(REQUEST_ID, request.clone())
        };
        let (error, mut finished) = self.opener.open(headers("error")).await?.split();
        // Nothing is ever written to it.
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut finished).await;
        let data = self.opener.open(headers("data")).await?;
        Ok((data, Failure(error)))
    }

    /// Cancelled when the session has ended.
    pub fn closed(&self) -> CancellationToken {
        self.opener.closed()
    }

    pub async fn close(self) {
        self.connection.close().await;
    }
}

// === impl Failure ===

impl Failure {
    /// Waits until the server is done with the connection; nothing means that it went well.
    pub async fn text(self) -> Option<String> {
        let mut bytes = Vec::new();
        let _ = self.0.take(MAX_ERROR).read_to_end(&mut bytes).await;
        (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }
}

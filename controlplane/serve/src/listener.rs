//! Accepting connections until told to stop, then draining them.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::connection::{self, ConnInfo, Limits};

/// Connections that wait to be accepted, as the standard library's.
const BACKLOG: u32 = 1024;

/// The error of a response body that breaks off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request; never fails, because an error is an answer.
    fn handle(
        self: Arc<Self>,
        connection: ConnInfo,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<UnsyncBoxBody<Bytes, BodyError>>> + Send;
}

/// What keeps a listener from listening.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}{}", hint(source))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "; stop what uses the port, or choose another",
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        std::io::ErrorKind::AddrNotAvailable => "; no interface of this machine has the address",
        _ => "",
    }
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    /// Where it listens; the port is known even if 0 was asked for.
    pub address: SocketAddr,
}

impl Listener {
    /// Binds an address; `::` is every address of both families, whatever the host's default is.
    pub async fn bind(address: SocketAddr) -> Result<Listener, ListenError> {
        let failed = |source| ListenError::Bind { address, source };
        let socket = if address.is_ipv6() && address.ip().is_unspecified() {
            of_both_families(address).map_err(failed)?
        } else {
            TcpListener::bind(address).await.map_err(failed)?
        };
        let address = socket.local_addr().map_err(failed)?;
        Ok(Listener { socket, address })
    }

    /// A socket that somebody else bound, such as one kept over a restart.
    pub fn adopt(socket: std::net::TcpListener) -> Result<Listener, ListenError> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let failed = |source| ListenError::Bind { address: unknown, source };
        socket.set_nonblocking(true).map_err(failed)?;
        let socket = TcpListener::from_std(socket).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Listener { socket, address })
    }

    /// Serves until `stopping`, then gives requests under way the drain time and returns.
    pub async fn serve<H: Handler>(
        self,
        tls: Arc<ServerConfig>,
        handler: Arc<H>,
        limits: Limits,
        stopping: CancellationToken,
    ) {
        let tls = TlsAcceptor::from(tls);
        let places = Arc::new(Semaphore::new(limits.connections));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stopping.cancelled() => break,
                accepted = accept(&self.socket, &places) => accepted,
                Some(_) = connections.join_next() => continue,
            };
            let Some((stream, peer, place)) = accepted else { continue };
            let (tls, handler, stopping) = (tls.clone(), handler.clone(), stopping.clone());
            connections.spawn(async move {
                connection::serve(stream, peer, tls, handler, limits, stopping).await;
                drop(place);
            });
        }
        drop(self.socket);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(limits.drain, drained).await.is_err() {
            tracing::warn!(left = connections.len(), "connections were cut at the end of the drain time");
        }
    }
}

fn of_both_families(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    socket.set_reuseaddr(true)?;
    rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

pub(crate) type Accepted = (tokio::net::TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

pub(crate) async fn accept(socket: &TcpListener, places: &Arc<Semaphore>) -> Option<Accepted> {
    let place = places.clone().acquire_owned().await.ok()?;
    match socket.accept().await {
        // By a socket of both families an address of IPv4 comes in IPv6's clothes.
        Ok((stream, peer)) => Some((stream, SocketAddr::new(peer.ip().to_canonical(), peer.port()), place)),
        Err(error) => {
            // Out of descriptors or memory: what is open must end first, so do not spin.
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            None
        }
    }
}

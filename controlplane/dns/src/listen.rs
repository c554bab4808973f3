//! The sockets: UDP and TCP on every address.
//!
//! A cluster name over UDP is read, answered and sent in one go; only questions for upstreams become tasks, and
//! [`Dns::take`] bounds those. A connection asks one question after the other.
//!
//! **Invariants.** Connections are bounded by [`CONNECTIONS`], each wait for one by [`IDLE`].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::crowd::Crowd;
use crate::message::Transport;
use crate::server::{Dns, Next};

/// Connections at once on one address, and of these from one asker; further ones are closed.
const CONNECTIONS: usize = 256;
const CONNECTIONS_EACH: usize = 32;
/// How long a connection may be silent, or not read.
const IDLE: Duration = Duration::from_secs(10);
/// The longest query over UDP that is read whole.
const LONGEST_QUERY: usize = 4096;
/// After an error that would repeat itself at once.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} ({protocol}): {why}; is another DNS server there, or the address not ours?"
)]
pub(crate) struct ListenError {
    address: SocketAddr,
    protocol: &'static str,
    why: io::Error,
}

/// Both sockets of one address.
pub(crate) struct Sockets {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Sockets {
    /// Binds both; with port 0 both take the same free one.
    pub(crate) async fn bind(address: SocketAddr) -> Result<Sockets, ListenError> {
        let failed = |protocol| move |why| ListenError { address, protocol, why };
        let tcp = TcpListener::bind(address).await.map_err(failed("TCP"))?;
        let address = tcp.local_addr().map_err(failed("TCP"))?;
        let udp = UdpSocket::bind(address).await.map_err(failed("UDP"))?;
        Ok(Sockets { udp: Arc::new(udp), tcp, address })
    }

    /// Answers until `stopping`; what is on its way to upstreams then is given up.
    pub(crate) async fn serve(self, dns: Arc<Dns>, stopping: CancellationToken) {
        let here = self.address.ip();
        let datagrams = datagrams(self.udp, here, dns.clone(), stopping.clone());
        tokio::join!(datagrams, connections(self.tcp, dns, stopping));
    }
}

async fn datagrams(socket: Arc<UdpSocket>, here: IpAddr, dns: Arc<Dns>, stopping: CancellationToken) {
    let mut fetches = JoinSet::new();
    let mut buffer = vec![0; LONGEST_QUERY];
    loop {
        let received = tokio::select! {
            () = stopping.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
            Some(_) = fetches.join_next() => continue,
        };
        let (length, from) = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(%error, "receiving");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        match dns.take(&buffer[..length], Transport::Udp, (from.ip(), here)) {
            Next::Nothing => {}
            Next::Reply(reply) => send(&socket, &reply, from).await,
            Next::Fetch(fetch) => {
                let (socket, dns) = (socket.clone(), dns.clone());
                fetches.spawn(async move {
                    let reply = dns.fetch(*fetch).await;
                    send(&socket, &reply, from).await;
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, reply: &[u8], to: SocketAddr) {
    // The asker repeats what gets lost.
    if let Err(error) = socket.send_to(reply, to).await {
        tracing::debug!(%to, %error, "a reply is lost");
    }
}

async fn connections(listener: TcpListener, dns: Arc<Dns>, stopping: CancellationToken) {
    let places = Crowd::new(CONNECTIONS, CONNECTIONS_EACH);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, from)) => {
                let Some(place) = places.enter(from.ip()) else { continue };
                let dns = dns.clone();
                connections.spawn(async move {
                    if let Err(error) = converse(stream, &dns).await {
                        tracing::debug!(%from, %error, "a connection ended early");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn converse(mut stream: TcpStream, dns: &Dns) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let way = (stream.peer_addr()?.ip(), stream.local_addr()?.ip());
    loop {
        let mut length = [0; 2];
        match timeout(IDLE, stream.read_exact(&mut length)).await {
            Ok(Ok(_)) => {}
            // Its end, or long silence: nothing is owed.
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Ok(()),
        }
        let mut query = vec![0; u16::from_be_bytes(length).into()];
        timeout(IDLE, stream.read_exact(&mut query)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        let reply = match dns.take(&query, Transport::Tcp, way) {
            Next::Nothing => return Ok(()),
            Next::Reply(reply) => reply,
            Next::Fetch(fetch) => dns.fetch(*fetch).await,
        };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(&reply);
        timeout(IDLE, stream.write_all(&framed)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    }
}

#[cfg(test)]
mod tests;

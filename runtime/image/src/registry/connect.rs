//! Connections to hosts: TCP, TLS, one HTTP/1.1 request after another.
//!
//! HTTP/1.1 only: layers come over connections of their own, which is what a fast download wants.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::hosts::{Host, Trust};
use super::tls;

/// For one address; the next one gets as long again.
const CONNECT: Duration = Duration::from_secs(10);
/// From the request to the response's head.
const RESPONSE: Duration = Duration::from_secs(60);
/// Kept open for the next request.
const IDLE_MAX: usize = 8;

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub secure: bool,
    pub name: String,
    pub port: u16,
}

/// The connections of one pull.
#[derive(Default)]
pub struct Connections {
    idle: Mutex<Vec<Idle>>,
    configs: Mutex<Vec<(Trust, Arc<rustls::ClientConfig>)>>,
}

struct Idle {
    endpoint: Endpoint,
    trust: Trust,
    sender: SendRequest<Full<Bytes>>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{0}")]
    Connect(io::Error),
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
    #[error("{0}")]
    Trust(#[from] tls::TrustError),
    #[error("TLS: {0}")]
    Handshake(io::Error),
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
}

// === impl Endpoint ===

impl Endpoint {
    /// As the Host header says it; default ports are left out.
    #[must_use]
    pub fn authority(&self) -> String {
        let name = if self.name.contains(':') { format!("[{}]", self.name) } else { self.name.clone() };
        let default = if self.secure { 443 } else { 80 };
        if self.port == default { name } else { format!("{name}:{}", self.port) }
    }
}

impl From<&Host> for Endpoint {
    fn from(host: &Host) -> Endpoint {
        Endpoint { secure: host.secure, name: host.name.clone(), port: host.port }
    }
}

// === impl Connections ===

impl Connections {
    /// Sends one request and waits for the head of its response. The request has an absolute path and a
    /// Host header.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        trust: &Trust,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ConnectError> {
        if let Some(mut sender) = self.take(endpoint, trust) {
            // The server may close an idle connection just now: then a fresh one is tried.
            if let Ok(Ok(response)) = timeout(RESPONSE, sender.send_request(request.clone())).await {
                self.keep(endpoint, trust, sender);
                return Ok(response);
            }
        }
        let mut sender = self.open(endpoint, trust).await?;
        let response = timeout(RESPONSE, sender.send_request(request)).await;
        let response = response.map_err(|_| ConnectError::Silent(RESPONSE))??;
        self.keep(endpoint, trust, sender);
        Ok(response)
    }

    fn take(&self, endpoint: &Endpoint, trust: &Trust) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|one| !one.sender.is_closed());
        // Ready: the body of its last response was read to the end.
        let at =
            idle.iter().position(|i| i.sender.is_ready() && i.endpoint == *endpoint && i.trust == *trust)?;
        Some(idle.swap_remove(at).sender)
    }

    fn keep(&self, endpoint: &Endpoint, trust: &Trust, sender: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(Idle { endpoint: endpoint.clone(), trust: trust.clone(), sender });
        }
    }

    async fn open(
        &self,
        endpoint: &Endpoint,
        trust: &Trust,
    ) -> Result<SendRequest<Full<Bytes>>, ConnectError> {
        let stream = connect(endpoint).await?;
        if !endpoint.secure {
            return start(TokioIo::new(stream)).await;
        }
        let name = ServerName::try_from(endpoint.name.clone())
            .map_err(|e| ConnectError::Handshake(io::Error::new(io::ErrorKind::InvalidInput, e)))?;
        let handshake = TlsConnector::from(self.config(trust)?).connect(name, stream);
        let stream = timeout(CONNECT, handshake).await.map_err(|_| ConnectError::Silent(CONNECT))?;
        start(TokioIo::new(stream.map_err(ConnectError::Handshake)?)).await
    }

    fn config(&self, trust: &Trust) -> Result<Arc<rustls::ClientConfig>, ConnectError> {
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = configs.iter().find(|(known, _)| known == trust) {
            return Ok(config.clone());
        }
        let config = Arc::new(tls::client_config(trust)?);
        configs.push((trust.clone(), config.clone()));
        Ok(config)
    }
}

async fn connect(endpoint: &Endpoint) -> Result<TcpStream, ConnectError> {
    let addresses = host_names::addresses(&endpoint.name, endpoint.port);
    let addresses = timeout(CONNECT, addresses).await.map_err(|_| ConnectError::Silent(CONNECT))?;
    let mut last = None;
    let unknown = |error| io::Error::other(format!("looking up {}: {error}", endpoint.name));
    for address in addresses.map_err(|error| ConnectError::Connect(unknown(error)))? {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(ConnectError::Connect)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = Some(ConnectError::Connect(error)),
            Err(_) => last = Some(ConnectError::Silent(CONNECT)),
        }
    }
    Err(last.unwrap_or_else(|| ConnectError::Connect(io::Error::other("the name has no address"))))
}

async fn start<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, ConnectError>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(stream).await?;
    // Ends when the sender is dropped and the last body is read or dropped.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::trace!(%error, "a registry connection ended");
        }
    });
    Ok(sender)
}

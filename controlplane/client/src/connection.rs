//! One HTTP/2 connection over TLS, made anew when it is gone.
//!
//! A server that is known by a name is looked up for every connection, so it may move; its certificate must be for that name.
//!
//! Not requests and their meaning: that is `client`. All requests and watches of an identity share the
//! connection; who finds it broken waits its back-off and dials, the others wait for that.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::ServerName;
use serve::Anybody;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;

use crate::in_files::InFiles;
use crate::kubeconfig::Identity;
use crate::{Backoff, ClientError, Config, Surroundings};

/// For looking the name up, TCP and TLS together.
const DIAL: Duration = Duration::from_secs(10);
/// For TCP to one of several addresses: the next may be better.
const ONE_OF_SEVERAL: Duration = Duration::from_secs(2);
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A connection that says nothing is asked whether it lives, and given up when it does not answer.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

pub(crate) struct Connection {
    /// With its port.
    host: String,
    /// An address, or what is looked up.
    place: (String, u16),
    name: ServerName<'static>,
    tls: TlsConnector,
    surroundings: Surroundings,
    state: Mutex<State>,
}

struct State {
    open: Option<Open>,
    backoff: Backoff,
    next_dial: Instant,
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn versions() -> Result<rustls::ConfigBuilder<rustls::ClientConfig, rustls::WantsVerifier>, ClientError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Credentials(error.to_string()))
}

impl Connection {
    pub(crate) fn new(config: &Config, surroundings: Surroundings) -> Result<Connection, ClientError> {
        let wrong = |why: String| ClientError::Credentials(why);
        let mut roots = rustls::RootCertStore::empty();
        for authority in &config.authorities {
            roots.add(authority.clone()).map_err(|error| wrong(format!("certificate-authority: {error}")))?;
        }
        let builder = versions()?.with_root_certificates(roots);
        Connection::with_tls(config, surroundings, builder)
    }

    /// To a server that need not prove who it is. Never with a credential.
    pub(crate) fn to_stranger(
        config: &Config,
        surroundings: Surroundings,
    ) -> Result<Connection, ClientError> {
        let verifier = Arc::new(Anybody(Arc::new(aws_lc_rs::default_provider())));
        let builder = versions()?.dangerous().with_custom_certificate_verifier(verifier);
        Connection::with_tls(config, surroundings, builder)
    }

    fn with_tls(
        config: &Config,
        surroundings: Surroundings,
        builder: rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert>,
    ) -> Result<Connection, ClientError> {
        let wrong = |why: String| ClientError::Credentials(why);
        let mut tls = match &config.identity {
            Identity::Certificate { chain, key } => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(|error| wrong(format!("client-certificate: {error}")))?,
            Identity::Files { chain, key } => {
                builder.with_client_cert_resolver(Arc::new(InFiles::new(chain.clone(), key.clone())))
            }
            _ => builder.with_no_client_auth(),
        };
        if matches!(config.identity, Identity::Files { .. }) {
            // A session that goes on is that of the certificate it began with.
            tls.resumption = rustls::client::Resumption::disabled();
        }
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let (host, port) = (config.host.clone(), config.port);
        let name = ServerName::try_from(host.clone())
            .map_err(|_| wrong(format!("server {host:?}: a host's name or its address is wanted")))?;
        let backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        Ok(Connection {
            host: match host.parse::<Ipv6Addr>() {
                Ok(address) => format!("[{address}]:{port}"),
                Err(_) => format!("{host}:{port}"),
            },
            place: (host, port),
            name,
            tls: TlsConnector::from(Arc::new(tls)),
            surroundings,
            state: Mutex::new(State { open: None, backoff, next_dial: Instant::now() }),
        })
    }

    /// `host:port`
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn unreachable(
        &self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ClientError {
        ClientError::Unreachable { server: self.host.clone(), source: source.into() }
    }

    /// The server does not believe us: what replaces our certificate is shown on another connection.
    pub(crate) async fn forget(&self) {
        self.state.lock().await.open = None;
    }

    /// A sender on a live connection; dials where there is none.
    pub(crate) async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let mut state = self.state.lock().await;
        if let Some(open) = &state.open
            && !open.sender.is_closed()
        {
            return Ok(open.sender.clone());
        }
        state.open = None;
        sleep_until(state.next_dial).await;
        let dialled = timeout(DIAL, self.dial()).await;
        let wait = state.backoff.next(self.surroundings.random);
        // Also after success: a server that accepts and hangs up must not be dialled in a tight loop.
        state.next_dial = Instant::now() + wait;
        match dialled {
            Ok(Ok(open)) => {
                state.backoff.reset();
                let sender = open.sender.clone();
                state.open = Some(open);
                Ok(sender)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.unreachable(format!("no connection within {} s", DIAL.as_secs()))),
        }
    }

    /// A stream to the first address of the server that takes one.
    async fn reach(&self) -> Result<TcpStream, ClientError> {
        let (host, port) = &self.place;
        let addresses = host_names::addresses(host, *port).await.map_err(|error| self.unreachable(error))?;
        let limit = match u32::try_from(addresses.len()) {
            Ok(several @ 2..) => ONE_OF_SEVERAL.min(DIAL / several),
            _ => DIAL,
        };
        let mut failed = None;
        for address in addresses {
            match timeout(limit, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failed = Some(self.unreachable(error)),
                Err(_) => failed = Some(self.unreachable(format!("{address} does not answer"))),
            }
        }
        Err(failed.unwrap_or_else(|| self.unreachable("its name has no address")))
    }

    async fn dial(&self) -> Result<Open, ClientError> {
        let stream = self.reach().await?;
        // Small requests must not wait for the next one; a socket that refuses this works without.
        let _ = stream.set_nodelay(true);
        let stream =
            self.tls.connect(self.name.clone(), stream).await.map_err(|error| self.unreachable(error))?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreachable(error))?;
        let host = self.host.clone();
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(server = %host, %error, "connection ended");
            }
        });
        Ok(Open { sender, driver })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::net::TcpListener;

    use super::*;

    fn to(host: &str, port: u16) -> Result<Connection, ClientError> {
        let config = Config {
            host: host.to_owned(),
            port,
            authorities: Vec::new(),
            identity: Identity::Anonymous,
            namespace: String::new(),
        };
        Connection::new(&config, Surroundings::system())
    }

    #[tokio::test]
    async fn names_are_looked_up_for_every_connection() {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let there = listener.local_addr().unwrap();
        for host in ["127.0.0.1", "localhost", "api.localhost"] {
            let connection = to(host, there.port()).unwrap();
            assert_eq!(connection.host(), format!("{host}:{}", there.port()));
            assert_eq!(connection.reach().await.unwrap().peer_addr().unwrap(), there, "{host}");
        }
        // Bound, so that it is nobody else's, and never listened at.
        let silent = tokio::net::TcpSocket::new_v4().unwrap();
        silent.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let port = silent.local_addr().unwrap().port();
        let refused = to("api.localhost", port).unwrap().reach().await.unwrap_err();
        assert!(refused.to_string().contains("api.localhost"), "{refused}");
    }

    #[test]
    fn how_a_server_is_written() {
        let shown = |host: &str| to(host, 1).ok().map(|connection| connection.host().to_owned());
        assert_eq!(shown("::1").as_deref(), Some("[::1]:1"));
        assert_eq!(shown("api.example.com").as_deref(), Some("api.example.com:1"));
        assert_eq!(shown("not a name"), None);
    }
}

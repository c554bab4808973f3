//! The wire between servers: TLS in which both sides prove who they are, and frames with numbers.
//!
//! **Invariants**
//! - Nobody without a certificate of the peer authority gets a byte read.
//! - A connection that fails answers everything that waits on it: nobody waits for an answer that cannot come.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pki::PEER_NAME;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::declared::Peer;
use super::frame::{READ_BYTES, TOGETHER_BYTES, push_frame, read_frames, write_frames};
use super::message::{Refusal, Request, Response, VERSION};
use super::transport::{CallError, Called, Lane, Transport};

/// What a hello begins with.
pub(super) const MAGIC: &[u8; 8] = b"KEELPEER";
/// Bytes of a hello.
pub(super) const HELLO_BYTES: usize = 36;
/// From the first packet to the answered hello.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Requests that wait for a connection's writer.
const QUEUE_REQUESTS: usize = 256;

/// A member's certificate and whom it believes.
#[derive(Clone, Debug)]
pub struct PeerTls {
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
}

impl PeerTls {
    /// From this member's certificate and the authorities of all members, PEM.
    pub fn new(certificate: &pki::Certificate, authorities_pem: &str) -> Result<PeerTls, String> {
        let told = |error: &dyn std::fmt::Display| format!("the store's peer certificate: {error}");
        let chain = certificate.chain("peer certificate").map_err(|error| told(&error))?;
        let key = || certificate.key("peer key").map_err(|error| told(&error));
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authorities_pem.as_bytes()) {
            roots.add(authority.map_err(|error| told(&error))?).map_err(|error| told(&error))?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients =
            rustls::server::WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
                .build()
                .map_err(|error| told(&error))?;
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| told(&error))?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.clone(), key()?)
            .map_err(|error| told(&error))?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| told(&error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key()?)
            .map_err(|error| told(&error))?;
        Ok(PeerTls { server: Arc::new(server), client: Arc::new(client) })
    }
}

/// Connections to other members, one per member and lane, made when they are needed.
pub(super) struct Dialler {
    pub(super) runtime: Handle,
    pub(super) tls: PeerTls,
    pub(super) own: u64,
    /// The cluster's number; 0 while this member does not know it.
    pub(super) cluster: Arc<AtomicU64>,
    pub(super) connections: Mutex<HashMap<(u64, Lane), Connection>>,
}

/// A connection's queue.
#[derive(Clone)]
pub(super) struct Connection {
    address: String,
    queue: mpsc::Sender<Waiting>,
}

struct Waiting {
    request: Request,
    answer: oneshot::Sender<Result<Response, CallError>>,
}

type Pending = Arc<Mutex<HashMap<u64, oneshot::Sender<Result<Response, CallError>>>>>;

impl Transport for Dialler {
    fn call(&self, lane: Lane, to: u64, peer: &Peer, request: Request, limit: Duration) -> Called<'_> {
        let peer = peer.clone();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let connection = self.connection(lane, to, &peer);
            let called = async {
                let waiting = Waiting { request, answer };
                if connection.queue.send(waiting).await.is_err() {
                    return Err(CallError::Unreachable(format!("{} cannot be reached", peer.address)));
                }
                answered.await.unwrap_or_else(|_| Err(CallError::Lost("the connection ended".into())))
            };
            let late = || CallError::Lost(format!("no answer within {} ms", limit.as_millis()));
            tokio::time::timeout(limit, called).await.unwrap_or_else(|_| Err(late()))
        })
    }
}

impl Dialler {
    fn connection(&self, lane: Lane, to: u64, peer: &Peer) -> Connection {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = connections.get(&(to, lane))
            && !found.queue.is_closed()
            && found.address == peer.address
        {
            return found.clone();
        }
        let (queue, waiting) = mpsc::channel(QUEUE_REQUESTS);
        let made = Connection { address: peer.address.clone(), queue };
        let hello = hello(self.cluster.load(Ordering::Acquire), self.own, to);
        self.runtime.spawn(run(self.tls.client.clone(), peer.address.clone(), hello, waiting));
        connections.insert((to, lane), made.clone());
        made
    }
}

/// The life of a connection: dial, then requests out and answers in.
async fn run(
    tls: Arc<ClientConfig>,
    address: String,
    hello: [u8; HELLO_BYTES],
    mut queue: mpsc::Receiver<Waiting>,
) {
    let dialled = tokio::time::timeout(CONNECT_LIMIT, dial(tls, &address, hello)).await;
    let stream = match dialled.unwrap_or_else(|_| Err(format!("{address} does not answer"))) {
        Ok(stream) => stream,
        Err(reason) => {
            queue.close();
            while let Ok(waiting) = queue.try_recv() {
                // Who asked may be gone.
                let _ = waiting.answer.send(Err(CallError::Unreachable(reason.clone())));
            }
            return;
        }
    };
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = BufReader::with_capacity(READ_BYTES, reader);
    let pending = Pending::default();
    let answers = async {
        let answered = |id, body: &[u8]| {
            let Some(answer) = pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&id) else {
                return;
            };
            let response: Result<Result<Response, Refusal>, _> = postcard::from_bytes(body);
            let response = match response {
                Ok(response) => response.map_err(CallError::Refused),
                Err(error) => Err(CallError::Lost(format!("an answer cannot be read: {error}"))),
            };
            // Who asked may be gone.
            let _ = answer.send(response);
        };
        while read_frames(&mut reader, answered).await.is_ok() {}
    };
    let requests = async {
        let (mut next, mut frames) = (0, Vec::new());
        let mut push = |frames: &mut Vec<u8>, Waiting { request, answer }| {
            next += 1;
            match push_frame(frames, next, &request) {
                Ok(()) => {
                    pending.lock().unwrap_or_else(PoisonError::into_inner).insert(next, answer);
                }
                // Who asked may be gone.
                Err(error) => drop(answer.send(Err(CallError::Unreachable(error.to_string())))),
            }
        };
        while let Some(waiting) = queue.recv().await {
            push(&mut frames, waiting);
            while frames.len() < TOGETHER_BYTES
                && let Ok(waiting) = queue.try_recv()
            {
                push(&mut frames, waiting);
            }
            if write_frames(&mut writer, &mut frames).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = answers => {}
        () = requests => {}
    }
    // What is still pending is dropped, and that answers it.
}

async fn dial(
    tls: Arc<ClientConfig>,
    address: &str,
    hello: [u8; HELLO_BYTES],
) -> Result<TlsStream<TcpStream>, String> {
    let told = |error: std::io::Error| format!("{address}: {error}");
    // No names: the executable has no resolver of the C library, and a store must not wait for one.
    let socket: SocketAddr =
        address.parse().map_err(|_| format!("{address}: an IP address and a port are wanted"))?;
    let stream = TcpStream::connect(socket).await.map_err(told)?;
    stream.set_nodelay(true).map_err(told)?;
    let name = ServerName::try_from(PEER_NAME).map_err(|error| error.to_string())?;
    let mut stream = TlsConnector::from(tls).connect(name, stream).await.map_err(told)?;
    stream.write_all(&hello).await.map_err(told)?;
    stream.flush().await.map_err(told)?;
    match stream.read_u8().await.map_err(told)? {
        0 => Ok(stream),
        length => {
            let mut sentence = vec![0; usize::from(length)];
            stream.read_exact(&mut sentence).await.map_err(told)?;
            Err(format!("{address}: {}", String::from_utf8_lossy(&sentence)))
        }
    }
}

fn hello(cluster: u64, from: u64, to: u64) -> [u8; HELLO_BYTES] {
    let mut bytes = [0; HELLO_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    for (place, number) in bytes[12..].chunks_exact_mut(8).zip([cluster, from, to]) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

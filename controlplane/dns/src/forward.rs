//! Everything that is not the cluster's: asked of the upstreams, kept for a short while.
//!
//! ```text
//! question ─► cache ─► upstream, its neighbour, ... over UDP ─(truncated)─► over TCP
//! ```
//!
//! Each question has a socket, thus a source port, and an id of its own: a forger has to guess both.
//!
//! **Invariants.** A reply counts only from the upstream asked, with our id and our question. An upstream has
//! [`ATTEMPT`], all together have [`WHOLE`]: less than a stub resolver waits.

mod cache;
mod upstreams;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::message::LARGEST_UDP;
use cache::AnswerCache;

pub(crate) use upstreams::Upstreams;

const ATTEMPT: Duration = Duration::from_millis(1500);
const WHOLE: Duration = Duration::from_millis(4500);

/// The way out.
pub(crate) struct Forwarder {
    upstreams: Upstreams,
    cache: AnswerCache,
    /// The upstream that answered last is asked first.
    preferred: AtomicUsize,
    random: fn(u64) -> u64,
}

/// What makes two questions the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    pub query: Query,
    pub checking_disabled: bool,
    pub dnssec_ok: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    #[error("no upstream is known; give --upstream, or put one into the host's resolv.conf")]
    NoUpstream,
    #[error("no upstream answers: {last}")]
    NoAnswer { last: String },
}

impl Forwarder {
    pub(crate) fn new(upstreams: Upstreams, random: fn(u64) -> u64) -> Forwarder {
        Forwarder { upstreams, cache: AnswerCache::default(), preferred: AtomicUsize::new(0), random }
    }

    /// The reply that is still good, if any.
    pub(crate) fn kept(&self, asked: &Asked) -> Option<Message> {
        self.cache.get(asked)
    }

    /// Asks the upstreams, the one that answered last first.
    pub(crate) async fn ask(&self, asked: &Asked) -> Result<Message, ForwardError> {
        let upstreams = self.upstreams.current();
        if upstreams.is_empty() {
            return Err(ForwardError::NoUpstream);
        }
        let first = self.preferred.load(Ordering::Relaxed);
        let mut last = format!("none within {WHOLE:?}");
        let mut unhappy = None;
        let asking = async {
            for turn in 0..upstreams.len() {
                let index = (first + turn) % upstreams.len();
                match self.ask_one(upstreams[index], asked).await {
                    Ok(reply) => match reply.metadata.response_code {
                        ResponseCode::NoError | ResponseCode::NXDomain => {
                            self.preferred.store(index, Ordering::Relaxed);
                            return Some(reply);
                        }
                        // Another one may know better.
                        _ => unhappy = Some(reply),
                    },
                    Err(error) => last = format!("{}: {error}", upstreams[index]),
                }
            }
            None
        };
        let reply = timeout(WHOLE, asking).await.ok().flatten();
        if let Some(reply) = reply {
            self.cache.put(asked, &reply);
            return Ok(reply);
        }
        unhappy.ok_or(ForwardError::NoAnswer { last })
    }

    async fn ask_one(&self, upstream: SocketAddr, asked: &Asked) -> io::Result<Message> {
        let id = u16::try_from((self.random)(1 << 16)).unwrap_or_default();
        let mut question = question(asked, id);
        let mut bytes = question.to_vec().map_err(io::Error::other)?;
        let mut reply = within(ATTEMPT, over_udp(upstream, &bytes, id, asked)).await?;
        if matches!(reply.metadata.response_code, ResponseCode::FormErr | ResponseCode::NotImp) {
            // Older than EDNS.
            question.edns = None;
            bytes = question.to_vec().map_err(io::Error::other)?;
            reply = within(ATTEMPT, over_udp(upstream, &bytes, id, asked)).await?;
        }
        if !reply.metadata.truncation {
            return Ok(reply);
        }
        // What came is better than nothing, should the upstream not speak TCP.
        match within(ATTEMPT, over_tcp(upstream, &bytes, id, asked)).await {
            Ok(whole) => Ok(whole),
            Err(error) => {
                tracing::debug!(%upstream, %error, "the whole of a truncated reply cannot be had");
                Ok(reply)
            }
        }
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn question(asked: &Asked, id: u16) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = asked.checking_disabled;
    message.queries.push(asked.query.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(LARGEST_UDP).set_dnssec_ok(asked.dnssec_ok);
    message.edns = Some(edns);
    message
}

/// Whether the bytes are the reply to our question; the reply.
fn accept(bytes: &[u8], id: u16, asked: &Asked) -> Option<Message> {
    let reply = Message::from_vec(bytes).ok()?;
    let ours = reply.metadata.id == id
        && reply.metadata.message_type == MessageType::Response
        && reply.queries.first().is_none_or(|query| *query == asked.query);
    ours.then_some(reply)
}

async fn over_udp(upstream: SocketAddr, question: &[u8], id: u16, asked: &Asked) -> io::Result<Message> {
    let any: IpAddr =
        if upstream.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(upstream).await?;
    socket.send(question).await?;
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(reply) = accept(&buffer[..length], id, asked) {
            return Ok(reply);
        }
    }
}

async fn over_tcp(upstream: SocketAddr, question: &[u8], id: u16, asked: &Asked) -> io::Result<Message> {
    let mut stream = TcpStream::connect(upstream).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(question);
    stream.write_all(&framed).await?;
    let mut bytes = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut bytes).await?;
    accept(&bytes, id, asked).ok_or_else(|| io::Error::other("the reply is not to our question"))
}

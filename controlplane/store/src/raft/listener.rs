//! The other end of the wire: accepts members, reads requests, writes answers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::declared::Payload;
use super::frame::{READ_BYTES, TOGETHER_BYTES, push_frame, read_frames, write_frames};
use super::handler::Handler;
use super::message::{Refusal, Request, VERSION};
use super::tls::{HELLO_BYTES, MAGIC, PeerTls};

/// From the first packet to the answered hello.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// Connections: seven members with four lanes each, twice.
const CONNECTIONS: usize = 64;
/// Requests of one connection under way.
const REQUESTS: usize = 256;
/// Messages of answers that wait to be written: a peer that does not read holds up those who answer it.
const ANSWERS: usize = 8;

/// Accepts until it is dropped.
pub(super) async fn listen(listener: TcpListener, tls: PeerTls, handler: Handler) {
    let acceptor = TlsAcceptor::from(tls.server);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the store cannot accept another member");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, handler) = (acceptor.clone(), handler.clone());
        connections.spawn(async move {
            let _place = place;
            match tokio::time::timeout(HANDSHAKE_LIMIT, greet(acceptor, stream, &handler)).await {
                Ok(Ok(stream)) => serve(stream, handler).await,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a connection to the store was not one of a member")
                }
                Err(_) => tracing::debug!("a connection to the store said nothing"),
            }
        });
    }
}

async fn greet(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    handler: &Handler,
) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    let mut hello = [0; HELLO_BYTES];
    stream.read_exact(&mut hello).await?;
    let number = |at: usize| hello[12 + at * 8..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let version = hello[8..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let refused = if &hello[..8] != MAGIC {
        Err("this port is for members of a Keelson store".to_owned())
    } else if version > VERSION {
        Err(format!("this member speaks version {VERSION} of the peer protocol, not {version}"))
    } else {
        handler.greet(number(0), number(2))
    };
    let Err(mut sentence) = refused else {
        stream.write_u8(0).await?;
        stream.flush().await?;
        return Ok(stream);
    };
    sentence.truncate(sentence.floor_char_boundary(usize::from(u8::MAX)));
    stream.write_u8(sentence.len() as u8).await?;
    stream.write_all(sentence.as_bytes()).await?;
    stream.shutdown().await?;
    Err(io::Error::other(sentence))
}

async fn serve(stream: TlsStream<TcpStream>, handler: Handler) {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = BufReader::with_capacity(READ_BYTES, reader);
    let (answers, mut queue) = mpsc::channel::<Vec<u8>>(ANSWERS);
    let requests = async {
        let places = Arc::new(Semaphore::new(REQUESTS));
        let mut under_way = JoinSet::new();
        loop {
            let mut arrived = Arrived::default();
            if read_frames(&mut reader, |id, body| arrived.add(id, body)).await.is_err() {
                return;
            }
            while under_way.try_join_next().is_some() {}
            for (id, request) in arrived.others {
                let Ok(place) = places.clone().acquire_owned().await else { return };
                let (handler, answers) = (handler.clone(), answers.clone());
                under_way.spawn(async move {
                    let _place = place;
                    let outcome = match request {
                        Ok(request) => handler.handle(request).await,
                        Err(refusal) => Err(refusal),
                    };
                    let mut frame = Vec::new();
                    if push_frame(&mut frame, id, &outcome).is_ok() {
                        // The connection may have ended.
                        let _ = answers.send(frame).await;
                    }
                });
            }
            let mut commands = arrived.commands.into_iter();
            loop {
                let together: Vec<_> = commands.by_ref().take(REQUESTS).collect();
                if together.is_empty() {
                    break;
                }
                let Ok(place) = places.clone().acquire_many_owned(together.len() as u32).await else {
                    return;
                };
                let (handler, answers) = (handler.clone(), answers.clone());
                under_way.spawn(async move {
                    let _place = place;
                    handler.carry_out(together, &answers).await;
                });
            }
        }
    };
    let responses = async {
        let mut frames = Vec::new();
        while let Some(first) = queue.recv().await {
            frames.extend_from_slice(&first);
            while frames.len() < TOGETHER_BYTES
                && let Ok(more) = queue.try_recv()
            {
                frames.extend_from_slice(&more);
            }
            if write_frames(&mut writer, &mut frames).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = requests => {}
        () = responses => {}
    }
}

/// Requests that came together.
#[derive(Default)]
struct Arrived {
    /// Commands that wait for nothing.
    commands: Vec<(u64, Payload)>,
    others: Vec<(u64, Result<Request, Refusal>)>,
}

impl Arrived {
    fn add(&mut self, id: u64, body: &[u8]) {
        match postcard::from_bytes::<Request>(body) {
            Ok(Request::Propose { command, relaxed: false }) => self.commands.push((id, command)),
            Ok(other) => self.others.push((id, Ok(other))),
            Err(error) => {
                let refusal = Refusal::Failed(format!("a request cannot be read: {error}"));
                self.others.push((id, Err(refusal)));
            }
        }
    }
}

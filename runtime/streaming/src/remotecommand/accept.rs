//! The server's side of a session's beginning: waits for the client's streams, or wires its channels.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::session::{LastWord, Session, Transport};
use super::{Kind, Protocol, STREAM_TYPE, resize};
use crate::request::Streams;
use crate::spdy::{Connection, Role, Stream};
use crate::stdio::{Reader, Stdio, TerminalSize, Writer};
use crate::websocket::{Role as WebSocketRole, Wiring};

/// How long a client may take to open all of its streams.
pub const CREATION_TIMEOUT: Duration = Duration::from_secs(30);
/// How many terminal sizes may wait for the backend.
const SIZES: usize = 4;

/// Why a client's streams did not come together. There is no stream to tell the client on.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    #[error("timed out waiting for client to create streams")]
    TimedOut,
    #[error("the client left before it had created its streams")]
    Gone,
}

/// The streams that have come so far.
#[derive(Default)]
struct Gathered {
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    error: Option<Stream>,
    resize: Option<Stream>,
}

/// Waits until the client has opened every stream that the request asks for.
pub async fn spdy<T>(
    io: T,
    protocol: Protocol,
    streams: Streams,
    idle: Duration,
) -> Result<Session, AcceptError>
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut connection = Connection::new(io, Role::Server, Some(idle));
    let deadline = Instant::now() + CREATION_TIMEOUT;
    let mut gathered = Gathered::default();
    while !gathered.complete(protocol, streams) {
        match timeout_at(deadline, connection.accept()).await {
            Ok(Some(stream)) => gathered.add(stream, protocol, streams),
            Ok(None) => return Err(AcceptError::Gone),
            Err(_) => return Err(AcceptError::TimedOut),
        }
    }
    connection.refuse_streams();
    let Some(error) = gathered.error else { return Err(AcceptError::Gone) };
    let mut tasks = JoinSet::new();
    let stdio = Stdio {
        stdin: gathered.stdin.map(|stream| Box::new(stream.into_reader()) as Reader),
        stdout: gathered.stdout.map(writer),
        stderr: gathered.stderr.map(writer),
        resize: sizes(gathered.resize.map(Stream::into_reader), &mut tasks),
        hangup: connection.closed(),
    };
    let transport = Transport::Spdy(connection);
    Ok(Session {
        stdio,
        last_word: LastWord { error: writer(error), status: protocol.status, transport, tasks },
    })
}

/// Wires the channels that the request asks for, and shows the client that the session is open.
pub async fn websocket<T>(io: T, protocol: Protocol, streams: Streams, idle: Duration) -> Session
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut wiring = Wiring::new(protocol.codec);
    let stdin = streams.stdin.then(|| Box::new(wiring.reader(Kind::Stdin as u8)) as Reader);
    let stdout = streams.stdout.then(|| Box::new(wiring.writer(Kind::Stdout as u8)) as Writer);
    let stderr = streams.stderr.then(|| Box::new(wiring.writer(Kind::Stderr as u8)) as Writer);
    let error = Box::new(wiring.writer(Kind::Error as u8));
    let resize = streams.tty.then(|| wiring.reader(Kind::Resize as u8));
    wiring.announce(match (streams.stdout, streams.stderr) {
        (true, _) => Kind::Stdout as u8,
        (_, true) => Kind::Stderr as u8,
        _ => Kind::Error as u8,
    });
    let channels = wiring.start(io, WebSocketRole::Server, Some(idle)).await;
    let mut tasks = JoinSet::new();
    let resize = sizes(resize, &mut tasks);
    let stdio = Stdio { stdin, stdout, stderr, resize, hangup: channels.closed() };
    let transport = Transport::WebSocket(channels);
    Session { stdio, last_word: LastWord { error, status: protocol.status, transport, tasks } }
}

// === impl Gathered ===

impl Gathered {
    /// Takes a stream that was asked for and has not come before; refuses any other.
    fn add(&mut self, stream: Stream, protocol: Protocol, streams: Streams) {
        let kind = stream.headers().get(STREAM_TYPE).and_then(Kind::of_name);
        let (place, wanted) = match kind {
            Some(Kind::Stdin) => (&mut self.stdin, streams.stdin),
            Some(Kind::Stdout) => (&mut self.stdout, streams.stdout),
            Some(Kind::Stderr) => (&mut self.stderr, streams.stderr),
            Some(Kind::Error) => (&mut self.error, true),
            Some(Kind::Resize) => (&mut self.resize, streams.tty && protocol.resize),
            None => return stream.refuse(),
        };
        if !wanted || place.is_some() {
            return stream.refuse();
        }
        stream.reply();
        *place = Some(stream);
    }

    fn complete(&self, protocol: Protocol, streams: Streams) -> bool {
        self.error.is_some()
            && self.stdin.is_some() == streams.stdin
            && self.stdout.is_some() == streams.stdout
            && self.stderr.is_some() == streams.stderr
            && self.resize.is_some() == (streams.tty && protocol.resize)
    }
}

fn writer(stream: Stream) -> Writer {
    Box::new(stream.into_writer())
}

/// Terminal sizes from that stream; none from no stream.
fn sizes<R>(from: Option<R>, tasks: &mut JoinSet<()>) -> mpsc::Receiver<TerminalSize>
where
    R: AsyncRead + Unpin + Send + 'static,
{
    let (to, sizes) = mpsc::channel(SIZES);
    if let Some(from) = from {
        tasks.spawn(resize::forward(from, to));
    }
    sizes
}

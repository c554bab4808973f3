//! Channels over one WebSocket: the first byte of each message says which channel it belongs to.
//!
//! ```text
//! binary   channel:u8 data                 base64   '0'+channel base64(data)
//! close    255 channel:u8                  (v5 only: the sender has finished that channel)
//! ```
//!
//! Messages for channels that nobody reads are dropped. Only a v5 client can finish a channel by itself;
//! otherwise all of them end with the WebSocket.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::config;
use crate::activity::Activity;
use crate::pipe::{self, DRAIN_TIMEOUT, End, Filler, Inlet, Outgoing, Outlet, PIECE};

/// In place of a channel number: the next byte names a channel that the peer has finished.
const CLOSE_SIGNAL: u8 = 255;
/// How long the last messages may take once the connection is being closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How channels are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec {
    /// Text messages in base64 instead of binary ones.
    pub base64: bool,
    /// Whether the close signal is understood, and sent by a client.
    pub close_signal: bool,
}

/// What is queued besides data.
pub enum Control {
    /// Shows the client that the server is ready.
    Empty(u8),
    Ping,
    /// The last thing to be sent.
    Close,
}

/// Channels before the first message.
pub struct Wiring {
    codec: Codec,
    fillers: HashMap<u8, Filler>,
    queue: mpsc::UnboundedSender<Outgoing<Control>>,
    outgoing: mpsc::UnboundedReceiver<Outgoing<Control>>,
    credit: Arc<Semaphore>,
}

/// An open connection.
pub struct Channels {
    queue: mpsc::UnboundedSender<Outgoing<Control>>,
    closed: CancellationToken,
    tasks: JoinSet<()>,
}

struct Shared {
    codec: Codec,
    role: Role,
    activity: Activity,
    closed: CancellationToken,
    credit: Arc<Semaphore>,
}

// === impl Wiring ===

impl Wiring {
    pub fn new(codec: Codec) -> Wiring {
        let (queue, outgoing) = mpsc::unbounded_channel();
        Wiring { codec, fillers: HashMap::new(), queue, outgoing, credit: pipe::credit() }
    }

    /// What the peer sends on that channel.
    pub fn reader(&mut self, channel: u8) -> Inlet {
        let (filler, inlet) = pipe::mailbox();
        self.fillers.insert(channel, filler);
        inlet
    }

    pub fn writer(&self, channel: u8) -> Outlet<Control> {
        Outlet::new(channel.into(), self.queue.clone(), self.credit.clone())
    }

    /// Queues an empty message on that channel.
    pub fn announce(&self, channel: u8) {
        let _ = self.queue.send(Outgoing::Control(Control::Empty(channel)));
    }

    /// Starts to speak over `io`. Without traffic for `idle` the connection ends.
    pub async fn start<T>(self, io: T, role: Role, idle: Option<Duration>) -> Channels
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sink, stream) = WebSocketStream::from_raw_socket(io, role, Some(config())).await.split();
        let closed = CancellationToken::new();
        let shared = Arc::new(Shared {
            codec: self.codec,
            role,
            activity: Activity::new(),
            closed: closed.clone(),
            credit: self.credit,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(run_reader(stream, shared.clone(), self.fillers, idle));
        tasks.spawn(run_writer(sink, shared, self.outgoing));
        Channels { queue: self.queue, closed, tasks }
    }
}

// === impl Channels ===

impl Channels {
    /// Cancelled when the connection has ended, for whatever reason.
    pub fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    /// Keeps both sides' idle timers from running out.
    pub fn ping(&self) {
        let _ = self.queue.send(Outgoing::Control(Control::Ping));
    }

    /// Queues the close frame behind everything written; the peer answers it by closing.
    pub fn finish(&self) {
        let _ = self.queue.send(Outgoing::Control(Control::Close));
    }

    /// Waits for both tasks, or ends them.
    pub async fn close(mut self) {
        self.finish();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(CLOSE_TIMEOUT, ended).await.is_err() {
            tracing::debug!("a WebSocket peer did not close in time");
        }
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

// === impl Shared ===

impl Shared {
    fn end(&self) {
        self.closed.cancel();
        self.credit.close();
    }
}

async fn run_reader<T: AsyncRead + AsyncWrite + Unpin>(
    stream: SplitStream<WebSocketStream<T>>,
    shared: Arc<Shared>,
    mut fillers: HashMap<u8, Filler>,
    idle: Option<Duration>,
) {
    let closed = shared.closed.clone();
    let end = tokio::select! {
        end = read(stream, &shared, &mut fillers) => end,
        idle = shared.activity.idle_for(idle) => {
            tracing::debug!(?idle, "a WebSocket connection was idle for too long");
            End::Lost
        }
        () = closed.cancelled() => End::Lost,
    };
    fillers.into_values().for_each(|filler| filler.end(end));
    shared.end();
}

/// Reads until the end: in good order by a close frame, or any other way.
async fn read<T: AsyncRead + AsyncWrite + Unpin>(
    mut stream: SplitStream<WebSocketStream<T>>,
    shared: &Shared,
    fillers: &mut HashMap<u8, Filler>,
) -> End {
    let mut end = End::Lost;
    while let Some(message) = stream.next().await {
        shared.activity.touch();
        let message = match message {
            Ok(Message::Binary(message)) => message,
            Ok(Message::Text(message)) => message.into(),
            Ok(Message::Close(_)) => {
                end = End::Finished;
                continue;
            }
            Ok(_) => continue,
            Err(Error::ConnectionClosed) => return End::Finished,
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a WebSocket cannot be read");
                return end;
            }
        };
        if !deliver(message, shared.codec, fillers).await {
            return End::Lost;
        }
    }
    end
}

/// Hands one message on; false if it breaks the protocol.
async fn deliver(mut message: Bytes, codec: Codec, fillers: &mut HashMap<u8, Filler>) -> bool {
    if message.is_empty() {
        return true;
    }
    let channel = message.split_to(1)[0];
    if codec.close_signal && channel == CLOSE_SIGNAL {
        let [channel] = message[..] else { return false };
        if let Some(filler) = fillers.remove(&channel) {
            filler.end(End::Finished);
        }
        return true;
    }
    let channel = if codec.base64 { channel.wrapping_sub(b'0') } else { channel };
    let Some(filler) = fillers.get(&channel) else { return true };
    if codec.base64 {
        // As upstream: a message that is not base64 is dropped, the rest goes on.
        message = STANDARD.decode(&message).unwrap_or_default().into();
    }
    while !message.is_empty() {
        filler.fill(message.split_to(message.len().min(PIECE))).await;
    }
    true
}

async fn run_writer<T: AsyncRead + AsyncWrite + Unpin>(
    sink: SplitSink<WebSocketStream<T>, Message>,
    shared: Arc<Shared>,
    queue: mpsc::UnboundedReceiver<Outgoing<Control>>,
) {
    let closed = shared.closed.clone();
    let result = tokio::select! {
        biased;
        result = write(sink, &shared, queue) => result,
        () = closed.cancelled() => Ok(()),
    };
    // The reader goes on: what the peer sent before it closed is still to be read.
    shared.credit.close();
    if let Err(error) = result {
        tracing::debug!(error = &error as &dyn std::error::Error, "a WebSocket cannot be written");
        let _ = timeout(DRAIN_TIMEOUT, closed.cancelled()).await;
        shared.end();
    }
}

async fn write<T: AsyncRead + AsyncWrite + Unpin>(
    mut sink: SplitSink<WebSocketStream<T>, Message>,
    shared: &Shared,
    mut queue: mpsc::UnboundedReceiver<Outgoing<Control>>,
) -> Result<(), Error> {
    let mut permits: Vec<OwnedSemaphorePermit> = Vec::new();
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        while let Some(outgoing) = next {
            let Some(message) = encode(outgoing, shared, &mut permits) else {
                next = queue.try_recv().ok();
                continue;
            };
            let last = message.is_close();
            sink.feed(message).await?;
            if last {
                return sink.flush().await;
            }
            next = queue.try_recv().ok();
        }
        sink.flush().await?;
        shared.activity.touch();
        permits.clear();
    }
    Ok(())
}

/// The message for one queued thing, if it has one.
fn encode(
    outgoing: Outgoing<Control>,
    shared: &Shared,
    permits: &mut Vec<OwnedSemaphorePermit>,
) -> Option<Message> {
    match outgoing {
        Outgoing::Data { stream, data, credit } => {
            permits.push(credit);
            Some(channel_message(shared.codec, stream as u8, &data))
        }
        Outgoing::Control(Control::Empty(channel)) => Some(channel_message(shared.codec, channel, &[])),
        Outgoing::Finish { stream } if shared.codec.close_signal && shared.role == Role::Client => {
            Some(Message::Binary(Bytes::copy_from_slice(&[CLOSE_SIGNAL, stream as u8])))
        }
        Outgoing::Finish { .. } => None,
        Outgoing::Control(Control::Ping) => Some(Message::Ping(Bytes::new())),
        Outgoing::Control(Control::Close) => {
            Some(Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })))
        }
    }
}

fn channel_message(codec: Codec, channel: u8, data: &[u8]) -> Message {
    if codec.base64 {
        let mut text = String::from(char::from(b'0'.wrapping_add(channel)));
        STANDARD.encode_string(data, &mut text);
        return Message::Text(text.into());
    }
    let mut message = BytesMut::with_capacity(1 + data.len());
    message.put_u8(channel);
    message.put_slice(data);
    Message::Binary(message.freeze())
}

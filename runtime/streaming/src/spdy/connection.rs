//! A connection: one task that reads, one that writes, a table of streams between them.
//!
//! ```text
//!                         ┌────────── Shared: streams, queue, credit ─────────┐
//! peer ──frames──▶ reader ┤ mailboxes of streams, accept queue                │
//! peer ◀──frames── writer ┤ one queue, in the order of the header compressor  │
//!                         └────────────────────────────────────────────────────┘
//! ```
//!
//! Both tasks end when `Shared::closed` is cancelled, by either of them or by [`Connection::close`];
//! dropping the connection aborts them. Idle time counts from the last frame in either direction.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::frame::{Frame, FrameError};
use super::headers::Headers;
use super::stream::Stream;
use super::writer::Control;
use super::{MAX_ANSWERS, MAX_STREAMS, reader, writer};
use crate::activity::Activity;
use crate::pipe::{self, End, Filler, Outgoing, Outlet};

/// How long a peer may take to accept a stream of ours.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// How many accepted streams may wait in the accept queue.
const ACCEPT_QUEUE: usize = 32;
/// How long the last frames may take once the connection is being closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Which side of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Opens streams with odd numbers.
    Client,
    /// Opens streams with even numbers.
    Server,
}

/// Why a connection or a stream came to its end before its time.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("the peer broke the protocol")]
    Frame(#[from] FrameError),
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error("the peer asks for answers faster than it reads them")]
    Flood,
    #[error("nothing was sent or received for {0:?}")]
    Idle(Duration),
    #[error("the connection is closed")]
    Closed,
    #[error("the peer refused the stream")]
    Refused,
    #[error("the peer did not answer to a new stream within {0:?}")]
    OpenTimeout(Duration),
    #[error("{max} streams are open; no more are allowed", max = super::MAX_STREAMS)]
    TooManyStreams,
}

/// An open connection.
pub struct Connection {
    shared: Arc<Shared>,
    incoming: mpsc::Receiver<Stream>,
    tasks: JoinSet<()>,
}

/// Opens streams on a connection that somebody else owns.
#[derive(Clone)]
pub struct Opener {
    shared: Arc<Shared>,
}

/// What the tasks, the streams and the owner share.
pub(super) struct Shared {
    pub role: Role,
    pub queue: mpsc::UnboundedSender<Outgoing<Control>>,
    pub credit: Arc<Semaphore>,
    pub answers: Arc<Semaphore>,
    pub closed: CancellationToken,
    streams: Mutex<Table>,
    pub activity: Activity,
}

#[derive(Default)]
pub(super) struct Table {
    pub slots: HashMap<u32, Slot>,
    pub last_received: u32,
    next: u32,
    going_away: bool,
}

/// What the connection knows of one stream.
pub(super) struct Slot {
    /// Gone when the peer has finished or nobody reads.
    pub filler: Option<Filler>,
    /// Waiting for the peer's SYN_REPLY.
    pub reply: Option<oneshot::Sender<Result<(), ConnectionError>>>,
    /// Tells the writer half that the peer has reset the stream.
    pub cut: Arc<AtomicBool>,
    /// Our side has sent its last frame.
    pub finished: bool,
}

// === impl Connection ===

impl Connection {
    /// Starts to speak SPDY over `io`. Without traffic for `idle` the connection ends.
    pub fn new<T>(io: T, role: Role, idle: Option<Duration>) -> Connection
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (queue, outgoing) = mpsc::unbounded_channel();
        let (accept, incoming) = mpsc::channel(ACCEPT_QUEUE);
        let next = if role == Role::Client { 1 } else { 2 };
        let shared = Arc::new(Shared {
            role,
            queue,
            credit: pipe::credit(),
            answers: Arc::new(Semaphore::new(MAX_ANSWERS)),
            closed: CancellationToken::new(),
            streams: Mutex::new(Table { next, ..Table::default() }),
            activity: Activity::new(),
        });
        let (read, write) = tokio::io::split(io);
        let mut tasks = JoinSet::new();
        tasks.spawn(reader::run(read, shared.clone(), accept, idle));
        tasks.spawn(writer::run(write, shared.clone(), outgoing));
        Connection { shared, incoming, tasks }
    }

    /// The next stream that the peer opens; nothing once the connection has ended.
    pub async fn accept(&mut self) -> Option<Stream> {
        self.incoming.recv().await
    }

    /// From now on every stream that the peer opens is refused.
    pub fn refuse_streams(&mut self) {
        self.incoming.close();
        while self.incoming.try_recv().is_ok() {}
    }

    pub fn opener(&self) -> Opener {
        Opener { shared: self.shared.clone() }
    }

    /// Cancelled when the connection has ended, for whatever reason.
    pub fn closed(&self) -> CancellationToken {
        self.shared.closed.clone()
    }

    /// Sends what is queued, then GOAWAY, then the end of the byte stream.
    pub async fn close(mut self) {
        let _ = self.shared.queue.send(Outgoing::Control(Control::Close));
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(CLOSE_TIMEOUT, ended).await.is_err() {
            tracing::debug!("a peer did not take its last frames in time");
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.end();
    }
}

// === impl Opener ===

impl Opener {
    /// Opens a stream and waits until the peer has accepted it.
    pub async fn open(&self, headers: Headers) -> Result<Stream, ConnectionError> {
        let (reply, accepted) = oneshot::channel();
        let stream = self.shared.open(headers, reply)?;
        match timeout(OPEN_TIMEOUT, accepted).await {
            Ok(Ok(result)) => result.map(|()| stream),
            Ok(Err(_)) => Err(ConnectionError::Closed),
            Err(_) => Err(ConnectionError::OpenTimeout(OPEN_TIMEOUT)),
        }
    }

    /// Sends a ping, which keeps both sides' idle timers from running out.
    pub fn ping(&self, id: u32) {
        let parity = if self.shared.role == Role::Client { 1 } else { 0 };
        let id = (id & 0x7fff_fffe) | parity;
        let _ = self.shared.answer(Frame::Ping(if id == 0 { 2 } else { id }));
    }

    pub fn closed(&self) -> CancellationToken {
        self.shared.closed.clone()
    }
}

// === impl Shared ===

impl Shared {
    pub fn table(&self) -> MutexGuard<'_, Table> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a frame that the peer provoked; fails if too many wait already.
    pub fn answer(&self, frame: Frame) -> Result<(), ConnectionError> {
        let permit = self.answers.clone().try_acquire_owned().map_err(|_| ConnectionError::Flood)?;
        let _ = self.queue.send(Outgoing::Control(Control::Answer(frame, permit)));
        Ok(())
    }

    /// Queues a frame of our own, of which every stream has at most one.
    pub fn send(&self, frame: Frame) {
        let _ = self.queue.send(Outgoing::Control(Control::Frame(frame)));
    }

    /// A new row of the table, with both ends of the stream.
    pub fn register(
        self: &Arc<Self>,
        table: &mut Table,
        id: u32,
        headers: Headers,
        reply: Option<oneshot::Sender<Result<(), ConnectionError>>>,
    ) -> Stream {
        let (filler, inlet) = pipe::mailbox();
        let outlet = Outlet::new(id, self.queue.clone(), self.credit.clone());
        let slot = Slot { filler: Some(filler), reply, cut: outlet.cut(), finished: false };
        table.slots.insert(id, slot);
        Stream::new(id, headers, inlet, outlet, self.clone())
    }

    fn open(
        self: &Arc<Self>,
        headers: Headers,
        reply: oneshot::Sender<Result<(), ConnectionError>>,
    ) -> Result<Stream, ConnectionError> {
        let mut table = self.table();
        if table.going_away || self.closed.is_cancelled() {
            return Err(ConnectionError::Closed);
        }
        if table.slots.len() >= MAX_STREAMS || table.next > super::frame::STREAM_MASK {
            return Err(ConnectionError::TooManyStreams);
        }
        let id = table.next;
        table.next += 2;
        let stream = self.register(&mut table, id, headers.clone(), Some(reply));
        // Queued under the lock: numbers must grow in the order of the wire.
        self.send(Frame::SynStream { stream: id, associated: 0, priority: 0, flags: 0, headers });
        Ok(stream)
    }

    pub fn go_away(&self) {
        self.table().going_away = true;
    }

    /// Ends everything; safe to call again.
    pub fn end(&self) {
        self.closed.cancel();
        self.credit.close();
        let slots = std::mem::take(&mut self.table().slots);
        for slot in slots.into_values() {
            slot.end(End::Lost);
        }
    }

    /// Queues a reset behind everything written to the stream.
    pub fn reset(&self, stream: u32, status: u32) {
        let _ = self.queue.send(Outgoing::Control(Control::Reset { stream, status }));
    }

    /// From now on the stream is as if the peer had finished it.
    pub fn ignore(&self, id: u32) {
        if let Some(slot) = self.table().slots.get_mut(&id) {
            slot.filler = None;
        }
    }
}

// === impl Slot ===

impl Slot {
    /// Tells all halves of the stream how it ended.
    pub fn end(self, end: End) {
        if end != End::Finished {
            self.cut.store(true, Ordering::Release);
        }
        if let Some(filler) = self.filler {
            filler.end(end);
        }
        if let Some(reply) = self.reply {
            let error = if end == End::Lost { ConnectionError::Closed } else { ConnectionError::Refused };
            let _ = reply.send(Err(error));
        }
    }
}

//! Both ends of one multiplexed stream, whatever multiplexes it: an [`Inlet`] that the connection's
//! reader fills, an [`Outlet`] that feeds the connection's writer.
//!
//! ```text
//! connection's reader ──Bytes──▶ mailbox (INLET_PIECES) ──▶ Inlet: AsyncRead
//! Outlet: AsyncWrite ──Outgoing──▶ queue, bounded by credit ──▶ connection's writer
//! ```
//!
//! A full mailbox stops the reader, and with it the whole connection: neither protocol's clients honour
//! flow control of single streams, so TCP's is the only one (moby/spdystream and wsstream do the same).
//! **Invariants.** A connection holds at most [`CREDIT`] × [`PIECE`] bytes that wait to be written, and
//! [`INLET_PIECES`] pieces per stream that wait to be read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::PollSemaphore;

/// The largest piece that is written as one frame or message.
pub const PIECE: usize = 32 * 1024;
/// How many pieces of all streams together may wait for the connection's writer.
pub const CREDIT: usize = 8;
/// How many pieces may wait for the reader of one stream.
pub const INLET_PIECES: usize = 8;

/// How long a connection that cannot be written any more is still read.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How a stream's incoming side ended. The first end counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer has finished.
    Finished = 1,
    /// The peer gave the stream up because of an error.
    Reset = 2,
    /// The connection broke.
    Lost = 3,
}

/// The sending half of a mailbox, held by the connection.
#[derive(Clone)]
pub struct Filler {
    pieces: mpsc::Sender<Bytes>,
    end: Arc<AtomicU8>,
}

/// What the peer sends, as a reader.
pub struct Inlet {
    pieces: mpsc::Receiver<Bytes>,
    current: Bytes,
    end: Arc<AtomicU8>,
}

/// What goes to the connection's writer. `C` is what the protocol has besides data.
pub enum Outgoing<C> {
    Data { stream: u32, data: Bytes, credit: OwnedSemaphorePermit },
    Finish { stream: u32 },
    Control(C),
}

/// What goes to the peer, as a writer. Dropping it finishes the stream after everything written.
pub struct Outlet<C> {
    stream: u32,
    queue: mpsc::UnboundedSender<Outgoing<C>>,
    credit: PollSemaphore,
    cut: Arc<AtomicBool>,
    finished: bool,
}

/// A mailbox for one stream.
pub fn mailbox() -> (Filler, Inlet) {
    let (sender, receiver) = mpsc::channel(INLET_PIECES);
    let end = Arc::new(AtomicU8::new(0));
    let filler = Filler { pieces: sender, end: end.clone() };
    (filler, Inlet { pieces: receiver, current: Bytes::new(), end })
}

/// The credit of one connection.
pub fn credit() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(CREDIT))
}

// === impl Filler ===

impl Filler {
    /// Hands on one piece; waits while the mailbox is full. What nobody will read any more is dropped.
    pub async fn fill(&self, piece: Bytes) {
        if !piece.is_empty() {
            let _ = self.pieces.send(piece).await;
        }
    }

    /// Ends the stream once this and every clone is dropped.
    pub fn end(self, end: End) {
        let _ = self.end.compare_exchange(0, end as u8, Ordering::AcqRel, Ordering::Acquire);
    }
}

// === impl Inlet ===

impl Inlet {
    /// Whether the peer has ended it, though there may be more to read.
    pub fn ended(&self) -> bool {
        self.end.load(Ordering::Acquire) != 0
    }
}

impl AsyncRead for Inlet {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.current.is_empty() {
            match ready!(self.pieces.poll_recv(cx)) {
                Some(piece) => self.current = piece,
                None => return Poll::Ready(ending(self.end.load(Ordering::Acquire))),
            }
        }
        let taken = self.current.len().min(buffer.remaining());
        buffer.put_slice(&self.current[..taken]);
        self.current.advance(taken);
        Poll::Ready(Ok(()))
    }
}

fn ending(end: u8) -> io::Result<()> {
    const FINISHED: u8 = End::Finished as u8;
    const RESET: u8 = End::Reset as u8;
    match end {
        FINISHED => Ok(()),
        RESET => Err(io::Error::new(io::ErrorKind::ConnectionReset, "the peer reset the stream")),
        _ => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection to the peer is lost")),
    }
}

// === impl Outlet ===

impl<C> Outlet<C> {
    pub fn new(stream: u32, queue: mpsc::UnboundedSender<Outgoing<C>>, credit: Arc<Semaphore>) -> Self {
        let cut = Arc::new(AtomicBool::new(false));
        Outlet { stream, queue, credit: PollSemaphore::new(credit), cut, finished: false }
    }

    /// Set it when the peer does not want this stream any more: writes fail from then on.
    pub fn cut(&self) -> Arc<AtomicBool> {
        self.cut.clone()
    }

    /// Says that nothing more comes. Queued behind what was written; never blocks.
    pub fn finish(&mut self) {
        if !self.finished {
            self.finished = true;
            let _ = self.queue.send(Outgoing::Finish { stream: self.stream });
        }
    }

    /// Takes away the right to write without telling the peer.
    pub fn abandon(&mut self) {
        self.finished = true;
    }
}

impl<C> AsyncWrite for Outlet<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.finished || self.cut.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let Some(credit) = ready!(self.credit.poll_acquire(cx)) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let piece = &data[..data.len().min(PIECE)];
        let outgoing = Outgoing::Data { stream: self.stream, data: Bytes::copy_from_slice(piece), credit };
        match self.queue.send(outgoing) {
            Ok(()) => Poll::Ready(Ok(piece.len())),
            Err(_) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl<C> Drop for Outlet<C> {
    fn drop(&mut self) {
        self.finish();
    }
}

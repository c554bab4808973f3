//! A body that is made while it is sent: whoever makes it says the next chunk, and no more than one is in memory.
//!
//! Not what stands in the chunks (`list_body`, `protobuf_list`).
//!
//! Invariant: behind an error comes nothing: a client sees the body broken off, never a shorter one that looks whole.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use serve::BodyError;

/// Bytes of a chunk, more or less.
pub(super) const CHUNK_BYTES: usize = 64 << 10;

/// Makes a body, chunk by chunk.
pub(super) trait Chunks: Unpin {
    /// The next chunk; None behind the last.
    fn chunk(&mut self) -> Option<Result<Bytes, BodyError>>;

    /// Whether there is no other chunk.
    fn is_end(&self) -> bool;

    /// The bytes that are still to come.
    fn hint(&self) -> SizeHint;
}

/// The body of somebody's chunks.
pub(super) struct Chunked<T> {
    chunks: T,
    broken: bool,
}

impl<T: Chunks> Chunked<T> {
    pub(super) fn new(chunks: T) -> Chunked<T> {
        Chunked { chunks, broken: false }
    }
}

impl<T: Chunks> Body for Chunked<T> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.broken {
            return Poll::Ready(None);
        }
        let chunk = this.chunks.chunk();
        this.broken = matches!(chunk, Some(Err(_)));
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.broken || self.chunks.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        self.chunks.hint()
    }
}

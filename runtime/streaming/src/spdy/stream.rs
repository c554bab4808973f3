//! One stream: a reader and a writer, together or apart.
//!
//! ```text
//! accept ──▶ reply() ──▶ read to the end, write, finish ──▶ gone
//!        ──▶ refuse(), or dropped ──▶ reset
//! ```
//!
//! Dropping the writing side finishes it after everything written; dropping the reading side before the
//! peer has finished resets the stream, so that the peer stops sending.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Shared;
use super::frame::{Frame, reset};
use super::headers::Headers;
use super::writer::Control;
use crate::pipe::{Inlet, Outlet};

/// Both directions of a stream.
pub struct Stream {
    headers: Headers,
    // Dropped in this order: the writer's end goes out before a reset.
    writer: StreamWriter,
    reader: StreamReader,
}

/// What comes from the peer.
pub struct StreamReader {
    id: u32,
    inlet: Inlet,
    shared: Arc<Shared>,
    /// Whether a drop tells the peer to stop.
    resets: bool,
}

/// What goes to the peer.
pub struct StreamWriter {
    outlet: Outlet<Control>,
}

// === impl Stream ===

impl Stream {
    pub(super) fn new(
        id: u32,
        headers: Headers,
        inlet: Inlet,
        outlet: Outlet<Control>,
        shared: Arc<Shared>,
    ) -> Stream {
        let reader = StreamReader { id, inlet, shared, resets: true };
        Stream { headers, writer: StreamWriter { outlet }, reader }
    }

    pub fn id(&self) -> u32 {
        self.reader.id
    }

    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Accepts a stream that the peer has opened; before this nothing may be written to it.
    pub fn reply(&self) {
        self.reader.shared.send(Frame::SynReply { stream: self.id(), fin: false, headers: Headers::new() });
    }

    /// Declines a stream that the peer has opened.
    pub fn refuse(self) {
        self.reset(reset::REFUSED_STREAM);
    }

    /// Gives the stream up in both directions, after everything written.
    pub fn reset(mut self, status: u32) {
        self.writer.outlet.abandon();
        self.reader.resets = false;
        self.reader.shared.reset(self.id(), status);
    }

    /// Both halves. Dropping the reader before the peer has finished resets the writer, too.
    pub fn split(self) -> (StreamReader, StreamWriter) {
        (self.reader, self.writer)
    }

    /// Only the writer. What the peer sends is dropped, and does not reset what is written.
    pub fn into_writer(self) -> StreamWriter {
        let (mut reader, writer) = self.split();
        reader.resets = false;
        reader.shared.ignore(reader.id);
        writer
    }

    /// Only the reader. The peer hears nothing from us on this stream but its end.
    pub fn into_reader(self) -> StreamReader {
        let (reader, mut writer) = self.split();
        writer.outlet.abandon();
        reader
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

// === impl StreamReader ===

impl AsyncRead for StreamReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inlet).poll_read(cx, buffer)
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        if self.resets && !self.inlet.ended() {
            self.shared.reset(self.id, reset::CANCEL);
        }
    }
}

// === impl StreamWriter ===

impl AsyncWrite for StreamWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.outlet).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.outlet).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.outlet).poll_shutdown(cx)
    }
}

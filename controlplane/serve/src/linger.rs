//! The end of a connection whose client is still sending.
//!
//! A socket that is closed with bytes unread resets the connection, and the client loses the answer that is on its
//! way: the refusal of a request that is too large, above all (RFC 9112, section 9.6).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// A socket that its owner gives back by dropping it.
pub(crate) struct Lent {
    stream: Option<TcpStream>,
    to: Option<oneshot::Sender<TcpStream>>,
}

/// Where a lent socket comes back.
pub(crate) type Return = oneshot::Receiver<TcpStream>;

/// Lends a socket.
pub(crate) fn lend(stream: TcpStream) -> (Lent, Return) {
    let (to, back) = oneshot::channel();
    (Lent { stream: Some(stream), to: Some(to) }, back)
}

/// Ends this side, and lets the client end its own: what it still sends is read and dropped, for so long at most. A
/// socket that has not come back belongs to an upgraded connection, which is not at its end.
pub(crate) async fn close(mut back: Return, at_most: Duration) {
    let Ok(mut stream) = back.try_recv() else { return };
    let drained = async {
        stream.shutdown().await?;
        // Small: all connections may come here at once.
        let mut dropped = vec![0; 4 << 10];
        while stream.read(&mut dropped).await? > 0 {}
        io::Result::Ok(())
    };
    // Whatever comes of it, the connection is over.
    let _ = tokio::time::timeout(at_most, drained).await;
}

impl Lent {
    fn stream(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(self.get_mut().stream.as_mut().expect("it is there until the drop"))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(stream), Some(to)) = (self.stream.take(), self.to.take()) {
            // Nobody waits for the socket of an upgraded connection: it is closed.
            let _ = to.send(stream);
        }
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(context, buffer)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(context)
    }
}

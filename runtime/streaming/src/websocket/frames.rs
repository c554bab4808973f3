//! Passes WebSocket frames on undecoded, but never two of them in one write.
//!
//! Python's client library waits for its socket between frames, and looks at what is left of a TLS record only when the
//! socket has more: of two frames in one record it never sees the second. A write is a record, so a frame is a write
//! (or more, where it is large). What is read is passed on as it comes.
//!
//! Reference: RFC 6455, 5.2.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Two bytes, a long length, a mask.
const LONGEST_HEADER: usize = 2 + 8 + 4;

/// A stream whose peer gets every frame by itself.
pub struct FrameByFrame<S> {
    stream: S,
    place: Place,
}

/// Where in a frame the next byte stands.
#[derive(Clone, Copy)]
enum Place {
    /// The first bytes of its header.
    Header { bytes: [u8; LONGEST_HEADER], count: usize },
    /// So many bytes before its end.
    Payload { left: u64 },
}

const BEGINNING: Place = Place::Header { bytes: [0; LONGEST_HEADER], count: 0 };

// === impl Place ===

impl Place {
    /// Goes on by what of `data` belongs to this frame; says how much that is.
    fn pass(&mut self, data: &[u8]) -> usize {
        for (index, byte) in data.iter().enumerate() {
            let Place::Header { bytes, count } = self else {
                return index + self.pass_payload(data.len() - index);
            };
            bytes[*count] = *byte;
            *count += 1;
            if let Some(left) = payload_after(&bytes[..*count]) {
                *self = Place::Payload { left };
            }
            if let Place::Payload { left: 0 } = self {
                *self = BEGINNING;
                return index + 1;
            }
        }
        data.len()
    }

    fn pass_payload(&mut self, available: usize) -> usize {
        let Place::Payload { left } = self else { return 0 };
        let passed = usize::try_from(*left).unwrap_or(usize::MAX).min(available);
        *left -= passed as u64;
        if *left == 0 {
            *self = BEGINNING;
        }
        passed
    }
}

/// The length of what follows, once the header is whole.
fn payload_after(header: &[u8]) -> Option<u64> {
    let [_, second, rest @ ..] = header else { return None };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let short = u64::from(second & 0x7f);
    let (size, length) = match short {
        126 => (2, rest.get(..2).map(|bytes| u64::from(u16::from_be_bytes([bytes[0], bytes[1]])))),
        127 => (8, rest.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))),
        _ => (0, Some(short)),
    };
    (rest.len() == size + mask).then_some(length).flatten()
}

// === impl FrameByFrame ===

impl<S> FrameByFrame<S> {
    /// Of a stream that stands at the beginning of a frame.
    pub fn new(stream: S) -> FrameByFrame<S> {
        FrameByFrame { stream, place: BEGINNING }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameByFrame<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FrameByFrame<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut ahead = self.place;
        let frame = &data[..ahead.pass(data)];
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, frame))?;
        self.place.pass(&frame[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Remembers each write; takes at most so much of one.
    struct Writes {
        all: Vec<Vec<u8>>,
        most: usize,
    }

    impl AsyncWrite for Writes {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
            let taken = data.len().min(self.most);
            self.all.push(data[..taken].to_vec());
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn frame(head: &[u8], payload: usize) -> Vec<u8> {
        [head, &vec![7; payload]].concat()
    }

    fn frames() -> Vec<Vec<u8>> {
        vec![
            frame(&[0x82, 0], 0),
            frame(&[0x82, 125], 125),
            frame(&[0x82, 126, 1, 0], 256),
            frame(&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], 65536),
            frame(&[0x82, 0x83, 1, 2, 3, 4], 3),
            frame(&[0x88, 0x80, 1, 2, 3, 4], 0),
            frame(&[0x88, 2], 2),
        ]
    }

    /// The writes that come of all frames, given in pieces of some size.
    async fn written(piece: usize, most: usize) -> Vec<Vec<u8>> {
        let mut stream = FrameByFrame::new(Writes { all: Vec::new(), most });
        for piece in frames().concat().chunks(piece) {
            stream.write_all(piece).await.expect("written");
        }
        stream.stream.all
    }

    #[tokio::test]
    async fn a_write_is_never_more_than_one_frame() {
        assert_eq!(written(usize::MAX, usize::MAX).await, frames());
        for (piece, most) in [(1, 1), (3, usize::MAX), (100, 7), (usize::MAX, 1000)] {
            let writes = written(piece, most).await;
            assert_eq!(writes.concat(), frames().concat(), "{piece} {most}");
            let mut ends = frames()
                .iter()
                .scan(0, |end, frame| {
                    *end += frame.len();
                    Some(*end)
                })
                .collect::<Vec<_>>();
            let mut at = 0;
            for write in writes {
                at += write.len();
                ends.retain(|end| *end != at);
            }
            assert_eq!(ends, [0; 0], "each frame's end is a write's: {piece} {most}");
        }
    }
}

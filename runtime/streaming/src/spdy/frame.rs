//! Frames of SPDY/3.1 as values, and how they are written. Reading is [`super::decoder`].
//!
//! ```text
//! control  1|version:15=3 type:16  flags:8 length:24  payload
//! data     0|stream:31             flags:8 length:24  payload
//! ```
//!
//! Reference: SPDY/3.1, section 2.6 (CREDENTIAL is not part of it any more).

use bytes::{BufMut, Bytes, BytesMut};

use super::headers::{Compressor, Headers};

pub const VERSION: u16 = 3;
pub const FRAME_HEADER: usize = 8;
pub const CONTROL_BIT: u8 = 0x80;
pub const STREAM_MASK: u32 = 0x7fff_ffff;
pub const FLAG_FIN: u8 = 0x01;
pub const FLAG_UNIDIRECTIONAL: u8 = 0x02;
/// What fits the 24 bits of a length.
const MAX_LENGTH: usize = (1 << 24) - 1;

pub const SYN_STREAM: u16 = 1;
pub const SYN_REPLY: u16 = 2;
pub const RST_STREAM: u16 = 3;
pub const SETTINGS: u16 = 4;
pub const PING: u16 = 6;
pub const GOAWAY: u16 = 7;
pub const HEADERS: u16 = 8;
pub const WINDOW_UPDATE: u16 = 9;

/// Why a stream was reset.
pub mod reset {
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const REFUSED_STREAM: u32 = 3;
    /// The peer has no more use for the stream: an orderly end, as Kubernetes uses it.
    pub const CANCEL: u32 = 5;
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    SynStream {
        stream: u32,
        associated: u32,
        priority: u8,
        flags: u8,
        headers: Headers,
    },
    SynReply {
        stream: u32,
        fin: bool,
        headers: Headers,
    },
    Reset {
        stream: u32,
        status: u32,
    },
    /// Identifier with its flags in the upper byte, and value.
    Settings(Vec<(u32, u32)>),
    Ping(u32),
    GoAway {
        last_good: u32,
        status: u32,
    },
    Headers {
        stream: u32,
        fin: bool,
        headers: Headers,
    },
    WindowUpdate {
        stream: u32,
        delta: u32,
    },
    /// A read gives large frames in pieces; `fin` comes with the last.
    Data {
        stream: u32,
        fin: bool,
        data: Bytes,
    },
}

/// What a peer did wrong. None of it can be recovered: the header compressor would be out of step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the peer speaks SPDY version {0}, not 3")]
    Version(u16),
    #[error("a control frame of type {kind} has {length} bytes; the bound is {max}", max = super::decoder::MAX_CONTROL)]
    ControlTooLarge { kind: u16, length: usize },
    #[error("a control frame of type {kind} is {length} bytes long, which does not fit its type")]
    ControlLength { kind: u16, length: usize },
    #[error("a frame of type {0} names stream 0")]
    StreamZero(u16),
    #[error("a header block does not decompress")]
    Compression,
    #[error("a header block is larger than {max} bytes", max = super::headers::MAX_BLOCK)]
    BlockTooLarge,
    #[error("a header block has {0} headers; the bound is {max}", max = super::headers::MAX_HEADERS)]
    TooManyHeaders(usize),
    #[error("a header block is malformed: {0}")]
    Headers(&'static str),
}

/// Writes frames of one direction, in the order in which they travel.
pub struct Encoder {
    compressor: Compressor,
}

// === impl Encoder ===

impl Default for Encoder {
    fn default() -> Self {
        Encoder::new()
    }
}

impl Encoder {
    pub fn new() -> Self {
        Encoder { compressor: Compressor::new() }
    }

    pub fn encode(&mut self, frame: &Frame, out: &mut BytesMut) -> Result<(), FrameError> {
        match frame {
            Frame::SynStream { stream, associated, priority, flags, headers } => {
                let block = self.compressor.block(headers)?;
                control(out, SYN_STREAM, *flags, 10 + block.len());
                out.put_u32(stream & STREAM_MASK);
                out.put_u32(associated & STREAM_MASK);
                out.put_u8(priority << 5);
                out.put_u8(0);
                out.put_slice(&block);
            }
            Frame::SynReply { stream, fin, headers } => self.block(out, SYN_REPLY, *stream, *fin, headers)?,
            Frame::Headers { stream, fin, headers } => self.block(out, HEADERS, *stream, *fin, headers)?,
            Frame::Reset { stream, status } => pair(out, RST_STREAM, *stream, *status),
            Frame::GoAway { last_good, status } => pair(out, GOAWAY, *last_good, *status),
            Frame::WindowUpdate { stream, delta } => pair(out, WINDOW_UPDATE, *stream, *delta),
            Frame::Ping(id) => {
                control(out, PING, 0, 4);
                out.put_u32(*id);
            }
            Frame::Settings(entries) => {
                control(out, SETTINGS, 0, 4 + 8 * entries.len());
                out.put_u32(entries.len() as u32);
                for (id, value) in entries {
                    out.put_u32(*id);
                    out.put_u32(*value);
                }
            }
            Frame::Data { stream, fin, data } => put_data(out, *stream, *fin, data),
        }
        Ok(())
    }

    fn block(
        &mut self,
        out: &mut BytesMut,
        kind: u16,
        stream: u32,
        fin: bool,
        headers: &Headers,
    ) -> Result<(), FrameError> {
        let block = self.compressor.block(headers)?;
        control(out, kind, u8::from(fin) * FLAG_FIN, 4 + block.len());
        out.put_u32(stream & STREAM_MASK);
        out.put_slice(&block);
        Ok(())
    }
}

fn control(out: &mut BytesMut, kind: u16, flags: u8, length: usize) {
    out.reserve(FRAME_HEADER + length);
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u8(flags);
    out.put_uint(length as u64, 3);
}

fn pair(out: &mut BytesMut, kind: u16, first: u32, second: u32) {
    control(out, kind, 0, 8);
    out.put_u32(first & STREAM_MASK);
    out.put_u32(second);
}

fn put_data(out: &mut BytesMut, stream: u32, fin: bool, data: &[u8]) {
    let mut pieces = data.chunks(MAX_LENGTH).peekable();
    if pieces.peek().is_none() {
        data_header(out, stream, fin, 0);
    }
    while let Some(piece) = pieces.next() {
        data_header(out, stream, fin && pieces.peek().is_none(), piece.len());
        out.put_slice(piece);
    }
}

fn data_header(out: &mut BytesMut, stream: u32, fin: bool, length: usize) {
    out.reserve(FRAME_HEADER + length);
    out.put_u32(stream & STREAM_MASK);
    out.put_u8(u8::from(fin) * FLAG_FIN);
    out.put_uint(length as u64, 3);
}

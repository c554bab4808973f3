//! Bytes in, frames out, without IO: the half of the codec that faces a hostile peer.
//!
//! ```text
//!            control frame            whole payload buffered, at most MAX_CONTROL
//! Header ──▶ data frame               handed on in pieces as they come, never gathered
//!            unknown control type     payload skipped as it comes
//! ```
//!
//! **Invariants.** The buffer never has to hold more than one control frame, whatever the lengths say.
//! After an error the decoder is not used again.

use bytes::{Buf, Bytes, BytesMut};

use super::frame::{self, CONTROL_BIT, FLAG_FIN, FRAME_HEADER, Frame, FrameError, STREAM_MASK, VERSION};
use super::headers::{Decompressor, Headers};

/// The largest control frame that is accepted.
pub const MAX_CONTROL: usize = 64 * 1024;
/// The largest piece of data that is handed on at once.
pub const MAX_PIECE: usize = 32 * 1024;

/// What the next bytes are.
enum Expect {
    Header,
    Control { kind: u16, flags: u8, length: usize },
    Data { stream: u32, fin: bool, left: usize },
    Skip { left: usize },
}

/// Reads frames of one direction.
pub struct Decoder {
    /// Fill this with what the peer sent.
    pub input: BytesMut,
    expect: Expect,
    decompressor: Decompressor,
}

// === impl Decoder ===

impl Default for Decoder {
    fn default() -> Self {
        Decoder::new()
    }
}

impl Decoder {
    pub fn new() -> Self {
        Decoder { input: BytesMut::new(), expect: Expect::Header, decompressor: Decompressor::new() }
    }

    /// The next frame, or nothing until there is more input.
    pub fn frame(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            match self.expect {
                Expect::Header => {
                    let Some(header) = self.input.first_chunk::<FRAME_HEADER>().copied() else {
                        return Ok(None);
                    };
                    self.input.advance(FRAME_HEADER);
                    self.expect = read_header(header)?;
                }
                Expect::Control { kind, flags, length } => {
                    if self.input.len() < length {
                        return Ok(None);
                    }
                    let payload = self.input.split_to(length).freeze();
                    self.expect = Expect::Header;
                    return self.control(kind, flags, payload).map(Some);
                }
                Expect::Data { stream, fin, left } => {
                    if self.input.is_empty() && left > 0 {
                        return Ok(None);
                    }
                    let data = self.input.split_to(left.min(self.input.len()).min(MAX_PIECE)).freeze();
                    let left = left - data.len();
                    self.expect = if left > 0 { Expect::Data { stream, fin, left } } else { Expect::Header };
                    return Ok(Some(Frame::Data { stream, fin: fin && left == 0, data }));
                }
                Expect::Skip { left } => {
                    if self.input.is_empty() && left > 0 {
                        return Ok(None);
                    }
                    let skipped = left.min(self.input.len());
                    self.input.advance(skipped);
                    let left = left - skipped;
                    self.expect = if left > 0 { Expect::Skip { left } } else { Expect::Header };
                }
            }
        }
    }

    /// Whether the peer may stop here: no frame is half read.
    pub fn between_frames(&self) -> bool {
        self.input.is_empty() && matches!(self.expect, Expect::Header)
    }

    fn control(&mut self, kind: u16, flags: u8, mut payload: Bytes) -> Result<Frame, FrameError> {
        let wrong = FrameError::ControlLength { kind, length: payload.len() };
        let fin = flags & FLAG_FIN != 0;
        let frame = match kind {
            frame::SYN_STREAM if payload.len() >= 10 => {
                let (stream, associated) = (stream_id(&mut payload), stream_id(&mut payload));
                let priority = payload.get_u8() >> 5;
                payload.advance(1);
                let headers = self.decompressor.block(&payload)?;
                Frame::SynStream { stream, associated, priority, flags, headers }
            }
            frame::SYN_REPLY if payload.len() >= 4 => {
                let (stream, headers) = self.block(payload)?;
                Frame::SynReply { stream, fin, headers }
            }
            frame::HEADERS if payload.len() >= 4 => {
                let (stream, headers) = self.block(payload)?;
                Frame::Headers { stream, fin, headers }
            }
            frame::RST_STREAM if payload.len() == 8 => {
                Frame::Reset { stream: stream_id(&mut payload), status: payload.get_u32() }
            }
            frame::WINDOW_UPDATE if payload.len() == 8 => {
                Frame::WindowUpdate { stream: payload.get_u32() & STREAM_MASK, delta: payload.get_u32() }
            }
            frame::GOAWAY if payload.len() == 8 => {
                Frame::GoAway { last_good: stream_id(&mut payload), status: payload.get_u32() }
            }
            frame::PING if payload.len() == 4 => Frame::Ping(payload.get_u32()),
            frame::SETTINGS if payload.len() >= 4 => {
                let count = payload.get_u32() as usize;
                if count.checked_mul(8) != Some(payload.len()) {
                    return Err(wrong);
                }
                Frame::Settings((0..count).map(|_| (payload.get_u32(), payload.get_u32())).collect())
            }
            _ => return Err(wrong),
        };
        match frame {
            Frame::SynStream { stream: 0, .. }
            | Frame::SynReply { stream: 0, .. }
            | Frame::Headers { stream: 0, .. }
            | Frame::Reset { stream: 0, .. } => Err(FrameError::StreamZero(kind)),
            frame => Ok(frame),
        }
    }

    fn block(&mut self, mut payload: Bytes) -> Result<(u32, Headers), FrameError> {
        let stream = stream_id(&mut payload);
        Ok((stream, self.decompressor.block(&payload)?))
    }
}

fn read_header(header: [u8; FRAME_HEADER]) -> Result<Expect, FrameError> {
    let [a, b, c, d, flags, x, y, z] = header;
    let length = u32::from_be_bytes([0, x, y, z]) as usize;
    if a & CONTROL_BIT == 0 {
        let stream = u32::from_be_bytes([a, b, c, d]);
        return Ok(Expect::Data { stream, fin: flags & FLAG_FIN != 0, left: length });
    }
    let (version, kind) = (u16::from_be_bytes([a & !CONTROL_BIT, b]), u16::from_be_bytes([c, d]));
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    if !matches!(kind, frame::SYN_STREAM..=frame::SETTINGS | frame::PING..=frame::WINDOW_UPDATE) {
        return Ok(Expect::Skip { left: length });
    }
    if length > MAX_CONTROL {
        return Err(FrameError::ControlTooLarge { kind, length });
    }
    Ok(Expect::Control { kind, flags, length })
}

fn stream_id(payload: &mut Bytes) -> u32 {
    payload.get_u32() & STREAM_MASK
}

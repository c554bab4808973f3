//! SPDY/3.1 as Kubernetes uses it: streams over one upgraded HTTP/1.1 connection.
//!
//! The codec ([`Encoder`], [`Decoder`]) does no IO. A [`Connection`] runs it over any byte stream, as
//! client or server, and gives out [`Stream`]s. What it does not do: push, priorities, per-stream flow
//! control. Peers (moby/spdystream) send neither WINDOW_UPDATE nor wait for it; both are read and ignored.
//!
//! **Invariants.** Everything a peer can make us keep is bounded: frames and header blocks in the codec,
//! streams by [`MAX_STREAMS`], data in [`crate::pipe`], unanswered pings and resets by [`MAX_ANSWERS`].
//!
//! Reference: SPDY Protocol, Draft 3.1.

mod connection;
mod decoder;
mod dictionary;
mod frame;
mod headers;
mod reader;
mod stream;
mod writer;

pub use connection::{Connection, ConnectionError, Opener, Role};
pub use decoder::Decoder;
pub use frame::{Encoder, Frame, FrameError, reset};
pub use headers::Headers;
pub use stream::{Stream, StreamReader, StreamWriter};

/// The most streams that are open at once.
pub const MAX_STREAMS: usize = 1000;
/// The most pings and resets that wait to be sent.
pub const MAX_ANSWERS: usize = 64;

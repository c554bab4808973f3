//! WebSocket as Kubernetes uses it: messages that begin with a channel number, or a tunnel for SPDY.
//!
//! [`Wiring`] makes readers and writers of channels and then speaks over a byte stream that has already
//! been upgraded; [`Tunnel`] makes a byte stream of binary messages; [`FrameByFrame`] passes frames on. The
//! handshake is [`crate::handshake`]'s. **Invariants.** A message has at most [`MAX_MESSAGE`] bytes.
//!
//! Reference: RFC 6455; k8s.io/streaming wsstream; KEP 4006.

mod channels;
mod frames;
mod tunnel;

pub use channels::{Channels, Codec, Wiring};
pub use frames::FrameByFrame;
pub use tunnel::Tunnel;

use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

pub use tokio_tungstenite::tungstenite::protocol::Role;

/// The largest message that is accepted.
pub const MAX_MESSAGE: usize = 1024 * 1024;
/// How much tungstenite may hold back, and then at most hold, before it is written.
const WRITE_BUFFER: usize = 64 * 1024;
const MAX_WRITE_BUFFER: usize = 512 * 1024;

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(32 * 1024)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}

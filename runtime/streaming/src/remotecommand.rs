//! Exec and attach: the streams of one command, over SPDY or WebSocket.
//!
//! ```text
//! SPDY       one stream each, header streamType: error stdin stdout stderr resize
//! WebSocket  one channel each:                   3     0     1      2      4
//! ```
//!
//! | version | error stream | resize | end of stdin over WebSocket |
//! |---------|--------------|--------|-----------------------------|
//! | v1, v2  | text         | no     | no                          |
//! | v3      | text         | yes    | no                          |
//! | v4      | status       | yes    | no                          |
//! | v5      | status       | yes    | close signal                |
//!
//! An [`accept`]ed session gives [`crate::Stdio`] to the backend and keeps the error stream for the last
//! word. What is not here: who may do what, and what a command is.
//!
//! Reference: k8s.io/cri-streaming; k8s.io/apimachinery remotecommand.

pub mod accept;
pub mod resize;
pub mod session;
pub mod status;

use crate::websocket::Codec;

/// Offered over SPDY, best first.
pub const SPDY_PROTOCOLS: &[&str] =
    &["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

/// Understood over WebSocket. A client may also name none and gets the first version.
pub const WEBSOCKET_PROTOCOLS: &[&str] = &[
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
];

/// The header that says what a SPDY stream is for.
pub const STREAM_TYPE: &str = "streamType";

/// What a stream is for, by its name over SPDY and its channel over WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    Error = 3,
    Resize = 4,
}

/// What a protocol can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The error stream carries a status, not text.
    pub status: bool,
    /// There is a stream for terminal sizes.
    pub resize: bool,
    /// How channels are written over WebSocket.
    pub codec: Codec,
}

// === impl Kind ===

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Stdin => "stdin",
            Kind::Stdout => "stdout",
            Kind::Stderr => "stderr",
            Kind::Error => "error",
            Kind::Resize => "resize",
        }
    }

    pub fn of_name(name: &str) -> Option<Kind> {
        [Kind::Stdin, Kind::Stdout, Kind::Stderr, Kind::Error, Kind::Resize]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

// === impl Protocol ===

impl Protocol {
    /// What the protocol of that name can do. Over WebSocket every version carries terminal sizes.
    pub fn named(name: &str) -> Protocol {
        let version = match name.split_once('.') {
            Some(("v5", _)) => 5,
            Some(("v4", _)) => 4,
            Some(("v3", _)) => 3,
            Some(("v2", _)) => 2,
            _ => 1,
        };
        Protocol {
            status: version >= 4,
            resize: version >= 3,
            codec: Codec { base64: name.contains("base64."), close_signal: version >= 5 },
        }
    }
}

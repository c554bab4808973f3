//! NetworkPolicy as the programs see it: who may talk to whom, by numbers.
//!
//! ```text
//! subject (32) | peer (32) | direction (8) | protocol (8) | port (16)      a prefix of it is the key
//! └──────────────── every protocol: 72 bits ────┘        │            │
//! └──────────────── every port: 80 bits ────────────────┘            │
//! └──────────────── ports that share their first bits: up to 96 ─────┘
//! ```
//!
//! Every entry allows, so whatever matches is enough: one lookup for the peer, one for [`ANYBODY`].

/// The peer of rules without peers, and the identity of addresses that nobody has numbered.
pub const ANYBODY: u32 = 0;

/// Seen from the subject.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    Ingress = 0,
    Egress = 1,
}

record! {
    pub struct PolicyKey {
        /// Identity of the isolated pod.
        pub subject: u32,
        /// Identity of the other end.
        pub peer: u32,
        /// [`Direction`].
        pub direction: u8,
        pub protocol: u8,
        /// Of the receiver, network order.
        pub port: u16,
    }
}

/// Length of the key's prefix: every protocol, one protocol, or the first `bits` of its ports.
#[must_use]
pub const fn policy_prefix(protocol: bool, bits: u8) -> u32 {
    if protocol { 80 + bits as u32 } else { 72 }
}

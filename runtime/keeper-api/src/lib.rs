//! What the daemon and its keeper say to each other, version 1.
//!
//! ```text
//! <state>/keeper.sock   SOCK_SEQPACKET, 0600, peers of uid 0 only
//!
//! daemon                                   keeper
//!   Hello {version}            ──────▶
//!                              ◀──────  Welcome {version, pid, instance}
//!   Launch + plan, stdio, gate ──────▶  clone3
//!                              ◀──────  AtGate {pid} + pidfd        (serial of the Launch)
//!   (writes one byte to the gate)
//!                              ◀──────  Started + pidfd, pty master (serial of the Launch)
//!                              ◀──────  Exited {id, exit}           (serial 0: an event)
//!   Forget                     ──────▶
//! ```
//!
//! One packet is one message: a version, a serial number and a body, in postcard; descriptors ride
//! beside it in the order that the body's documentation names. What is not here: anything about
//! containers, pods, logs. The keeper knows processes.
//!
//! **Invariants.** A packet is at most [`MAX_MESSAGE`] bytes and [`MAX_DESCRIPTORS`] descriptors. Each
//! side speaks [`VERSION`] and understands [`OLDEST`]. Variants are only ever added at the end.

mod channel;
mod exit;
mod id;
mod message;
mod wire;

pub use channel::{Channel, ChannelError};
pub use exit::{Exit, Status};
pub use id::{IdError, ProcessId};
pub use message::{Adopt, Body, Call, Entry, Failure, FailureKind, Launch, Stage, Stream};
pub use wire::{Packet, WireError, decode, encode};

/// The version this code speaks.
pub const VERSION: u16 = 1;
/// The oldest version this code still understands.
pub const OLDEST: u16 = 1;
/// The largest packet, in bytes. A plan travels in a memfd, so no message needs more.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// The most descriptors of one packet (the kernel's SCM_MAX_FD is 253).
pub const MAX_DESCRIPTORS: usize = 128;
/// The name of the keeper's socket in the state directory.
pub const SOCKET: &str = "keeper.sock";

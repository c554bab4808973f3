//! Exec, attach and port-forward streams: SPDY/3.1 and WebSocket, server and client.
//!
//! ```text
//! Server ─▶ handshake ─▶ remotecommand ─┬─▶ Backend (CRI)         client::remotecommand, ::portforward
//!                        portforward  ──┘                         proxy: upgraded bytes, not decoded
//!                             │                                             │
//!                             └────────── spdy, websocket ◀─────────────────┘
//!                                               │
//!                                             pipe: mailboxes, credit, one queue per connection
//! ```
//!
//! What is not here: containers, processes, sockets into sandboxes (a [`Backend`] has them), TLS, names,
//! and who may do what. **Invariants.** Every byte comes from outside and is checked; every buffer,
//! queue, table and wait has a bound with a name; no task outlives its connection.

mod activity;
mod backend;
pub mod client;
mod entropy;
pub mod handshake;
mod pipe;
pub mod portforward;
pub mod proxy;
pub mod remotecommand;
mod request;
pub mod server;
pub mod spdy;
mod stdio;
pub mod websocket;

pub use backend::{Backend, StreamError};
pub use request::{AttachRequest, ExecRequest, PortForwardRequest, Request, RequestError, Streams};
pub use server::{Server, ServerOptions};
pub use stdio::{ByteStream, Reader, Stdio, TerminalSize, Writer};

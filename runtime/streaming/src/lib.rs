//! Exec, attach and port-forward streams: SPDY/3.1 and WebSocket.

mod backend;
mod request;
pub mod server;
mod stdio;

pub use backend::{Backend, StreamError};
pub use request::{AttachRequest, ExecRequest, PortForwardRequest, Request, RequestError, Streams};
pub use server::{Server, ServerOptions};
pub use stdio::{ByteStream, Reader, Stdio, TerminalSize, Writer};

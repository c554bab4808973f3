//! Who does what a session asks for: the container runtime behind the streaming server.

use futures::future::BoxFuture;

use crate::request::{AttachRequest, ExecRequest};
use crate::stdio::{ByteStream, Stdio};

/// Runs commands, joins streams, connects ports. The server awaits exec and attach to their ends, also when
/// the client is gone (see [`Stdio::hangup`]); forwarded ports are dropped some seconds after their client,
/// and everything is dropped at shutdown.
pub trait Backend: Send + Sync + 'static {
    /// Runs the command; the answer is its exit code (128 + n for a signal). All output has been written
    /// when this returns.
    fn exec(&self, request: ExecRequest, stdio: Stdio) -> BoxFuture<'_, Result<i32, StreamError>>;

    /// Joins the container's streams until the client leaves or the container exits.
    fn attach(&self, request: AttachRequest, stdio: Stdio) -> BoxFuture<'_, Result<(), StreamError>>;

    /// Copies both ways between `stream` and a TCP port in the sandbox until both ends have closed.
    fn port_forward(
        &self,
        sandbox: String,
        port: u16,
        stream: Box<dyn ByteStream>,
    ) -> BoxFuture<'_, Result<(), StreamError>>;
}

/// Why a session came to nothing. The text goes to the client.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// No such container or sandbox.
    #[error("{0} not found")]
    NotFound(String),
    /// It is there but cannot serve this: not running, no such command, connection refused.
    #[error("{0}")]
    Failed(String),
    /// A stream broke.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

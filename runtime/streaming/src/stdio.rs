//! The streams of one session, whatever protocol carries them.
//!
//! A reader that ends has been closed by the client in good order; a reader that fails lost its client.
//! Writers are flushed and closed when they are dropped; nothing has to be shut down by hand.

use std::fmt;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What a session reads from.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// What a session writes to.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Both directions of one forwarded connection.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// How large a terminal is, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    pub width: u16,
    pub height: u16,
}

/// The streams of one exec or attach session. What the request did not ask for is `None`.
pub struct Stdio {
    pub stdin: Option<Reader>,
    pub stdout: Option<Writer>,
    /// Never together with a terminal.
    pub stderr: Option<Writer>,
    /// New sizes of the client's terminal; without a terminal it ends at once.
    pub resize: mpsc::Receiver<TerminalSize>,
    /// Cancelled when the client is gone: nobody reads any more, nobody waits for the exit code.
    pub hangup: CancellationToken,
}

impl Default for Stdio {
    /// No streams, no terminal, a client that stays.
    fn default() -> Self {
        let (_, resize) = mpsc::channel(1);
        Stdio { stdin: None, stdout: None, stderr: None, resize, hangup: CancellationToken::new() }
    }
}

impl fmt::Debug for Stdio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stdio")
            .field("stdin", &self.stdin.is_some())
            .field("stdout", &self.stdout.is_some())
            .field("stderr", &self.stderr.is_some())
            .finish_non_exhaustive()
    }
}

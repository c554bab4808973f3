//! A session from its streams to its last word, served by a backend.
//!
//! ```text
//! accept ──▶ Stdio to the backend ──▶ its result ──▶ status, ends of streams ──▶ the client closes
//! ```
//!
//! The server does not close first. A client may still be reading, and what it sends meanwhile would meet
//! a closed socket, whose reset destroys the output that is on its way.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::status::Status;
use crate::backend::Backend;
use crate::request::{AttachRequest, ExecRequest};
use crate::spdy;
use crate::stdio::{Stdio, Writer};
use crate::websocket::Channels;

/// How long a client may read on when the command is over.
pub const FINISH_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// An accepted session.
pub struct Session {
    pub stdio: Stdio,
    pub last_word: LastWord,
}

/// What is left of a session once the backend has the streams.
pub struct LastWord {
    pub(super) error: Writer,
    /// The error stream carries a status, not text.
    pub(super) status: bool,
    pub(super) transport: Transport,
    /// Reads terminal sizes.
    pub(super) tasks: JoinSet<()>,
}

/// What carries the streams.
pub enum Transport {
    Spdy(spdy::Connection),
    WebSocket(Channels),
}

/// Runs the command and tells the client how it ended.
pub async fn exec(session: Session, backend: &dyn Backend, request: ExecRequest) {
    let container = request.container.clone();
    let result = backend.exec(request, session.stdio).await;
    if let Err(error) = &result {
        tracing::info!(container, error = error as &dyn std::error::Error, "exec failed");
    }
    session.last_word.say(&Status::of_exec(&result)).await;
}

/// Joins the container and tells the client how that ended.
pub async fn attach(session: Session, backend: &dyn Backend, request: AttachRequest) {
    let container = request.container.clone();
    let result = backend.attach(request, session.stdio).await;
    if let Err(error) = &result {
        tracing::info!(container, error = error as &dyn std::error::Error, "attach failed");
    }
    session.last_word.say(&Status::of_attach(&result)).await;
}

// === impl LastWord ===

impl LastWord {
    async fn say(mut self, status: &Status) {
        self.tasks.abort_all();
        let closed = match &self.transport {
            Transport::Spdy(connection) => connection.closed(),
            Transport::WebSocket(channels) => channels.closed(),
        };
        let mut error = self.error;
        let bytes = status.encode(self.status);
        let finish = async {
            // Fails only if the client is gone.
            let _ = error.write_all(&bytes).await;
            drop(error);
            if let Transport::WebSocket(channels) = &self.transport {
                channels.finish();
            }
            closed.cancelled().await;
        };
        if timeout(FINISH_TIMEOUT, finish).await.is_err() {
            tracing::info!("a client neither read nor closed its session; cut off");
        }
        match self.transport {
            Transport::Spdy(connection) => connection.close().await,
            Transport::WebSocket(channels) => channels.close().await,
        }
    }
}

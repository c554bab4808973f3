//! Attach: a client joins a running container's streams.
//!
//! The client gets what comes from now on, beginning with the line that is not ended yet (a prompt).
//! A client that reads too slowly is cut off and told so: neither the container nor its log wait for it.
//!
//! When the client's input ends: with `stdin_once` and no terminal the container's stdin ends and the
//! output goes on; otherwise the session ends and the container's stdin stays open. So does containerd.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use keeper_api::Stream;
use streaming::{Stdio, Writer};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

use super::feed::Feed;
use super::pump::{Attacher, Command, Unavailable};
use super::terminal::Master;
use super::{ContainerIo, fs};

/// Pieces of output, of up to 64 KiB each, that wait for one client.
const MOST_WAITING: usize = 32;

/// Why an attached session ended early.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error("the container has no stdin to attach to")]
    NoStdin,
    #[error("the client read too slowly: {MOST_WAITING} pieces of output waited for it")]
    TooSlow,
    #[error("the container's streams cannot be used")]
    Io(#[source] io::Error),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl ContainerIo {
    /// Joins a client to the container's streams until either side ends it.
    pub async fn attach(&self, stdio: Stdio) -> Result<(), AttachError> {
        let Stdio { stdin, stdout, stderr, resize, hangup } = stdio;
        let feed = match &stdin {
            Some(_) => Some(self.feed()?),
            None => None,
        };
        let too_slow = Arc::new(AtomicBool::new(false));
        let (for_stdout, from_stdout) = channel(stdout.is_some());
        let (for_stderr, from_stderr) = channel(stderr.is_some());
        let attacher = Attacher { stdout: for_stdout, stderr: for_stderr, too_slow: Arc::clone(&too_slow) };
        let id = self.0.options.id.clone();
        self.0.streams.pump.tell(Command::Attach { id, attacher })?;

        let output = async { tokio::join!(copy(from_stdout, stdout), copy(from_stderr, stderr)) };
        tokio::select! {
            _ = output => {}
            () = self.input(feed, stdin) => {}
            () = self.follow_size(resize) => {}
            () = hangup.cancelled() => {}
        }
        if too_slow.load(Ordering::Relaxed) { Err(AttachError::TooSlow) } else { Ok(()) }
    }

    fn feed(&self) -> Result<Feed, AttachError> {
        if !self.0.options.stdin {
            return Err(AttachError::NoStdin);
        }
        if let Some(master) = self.terminal() {
            return Ok(Feed::Terminal(Arc::new(Master::new(master).map_err(AttachError::Io)?)));
        }
        let feeder = self
            .held()
            .iter()
            .find(|(stream, _)| *stream == Stream::Stdin)
            .map(|(_, feeder)| Arc::clone(feeder));
        let feeder = feeder.ok_or(AttachError::NoStdin)?.try_clone().map_err(AttachError::Io)?;
        Feed::pipe(feeder).map_err(AttachError::Io)
    }

    /// Returns when the end of the input is the end of the session.
    async fn input(&self, feed: Option<Feed>, stdin: Option<streaming::Reader>) {
        let (Some(feed), Some(stdin)) = (feed, stdin) else { return std::future::pending().await };
        if let Err(error) = feed.run(stdin).await {
            tracing::debug!(id = %self.0.options.id, %error, "an attached client's input ended");
        }
        if self.0.options.stdin_once && !self.0.options.tty {
            self.end_stdin().await;
            std::future::pending::<()>().await;
        }
    }

    /// Lets the container read the end of its stdin, for good.
    async fn end_stdin(&self) {
        let id = &self.0.options.id;
        self.held().retain(|(stream, _)| *stream != Stream::Stdin);
        // A daemon that comes back finds no FIFO and opens none.
        let _gone = fs::remove_file(self.0.options.fifo(Stream::Stdin));
        if let Err(error) = self.0.streams.processes.release(id, Stream::Stdin).await {
            tracing::warn!(%id, %error, "the keeper still holds a container's stdin open");
        }
    }

    /// Never returns: the client's terminal may stop changing its size.
    async fn follow_size(&self, mut resize: mpsc::Receiver<streaming::TerminalSize>) {
        while let Some(size) = resize.recv().await {
            if let Err(error) = self.resize(size.width, size.height) {
                tracing::debug!(id = %self.0.options.id, %error, "a size was not followed");
            }
        }
        std::future::pending().await
    }
}

fn channel(wanted: bool) -> (Option<mpsc::Sender<Bytes>>, Option<mpsc::Receiver<Bytes>>) {
    let (sender, receiver) = mpsc::channel(MOST_WAITING);
    if wanted { (Some(sender), Some(receiver)) } else { (None, Some(receiver)) }
}

/// Copies output to a client until the container or the client ends it. Without a writer: until the
/// container ends, which closes the channel of every attached client.
async fn copy(from: Option<mpsc::Receiver<Bytes>>, to: Option<Writer>) {
    let (Some(mut from), Some(mut to)) = (from, to) else { return };
    while let Some(bytes) = from.recv().await {
        if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
    let _client_gone = to.shutdown().await;
}

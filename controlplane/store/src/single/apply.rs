//! The apply thread: turns synced entries into state and replies.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use tokio::sync::oneshot;

use super::SingleOptions;
use crate::command::{Command, Reply};
use crate::consensus::ProposeError;
use crate::state::State;

/// Entries that are on disk, with whom to answer.
pub(super) struct Synced {
    /// Log index and command, in order.
    pub(super) entries: Vec<(u64, Command)>,
    /// One per entry.
    pub(super) replies: Vec<Answer>,
    /// What they take in the log.
    pub(super) bytes: u64,
}

/// Bytes of log entries after which the state is put on disk although they are few: what the log keeps, and what a
/// start reads, stays bounded.
const FLUSH_BYTES: u64 = 256 << 20;

/// Where a proposer waits.
pub(super) type Answer = oneshot::Sender<Result<Reply, ProposeError>>;

pub(super) struct Applier {
    pub(super) state: Arc<State>,
    pub(super) to_apply: Receiver<Synced>,
    /// Tells the log thread which entries the state has on disk.
    pub(super) flushed: Sender<u64>,
    pub(super) options: SingleOptions,
}

impl Applier {
    pub(super) fn run(self) {
        let (mut flushed_at, mut unflushed) = (self.state.applied(), 0);
        while let Some(synced) = self.state.next_work(&self.to_apply) {
            let Synced { entries, replies, bytes } = synced;
            match self.state.apply(&entries) {
                Ok(answers) => {
                    for (reply, answer) in replies.into_iter().zip(answers) {
                        // A proposer that has gone away needs no answer.
                        let _ = reply.send(Ok(answer));
                    }
                }
                Err(error) => {
                    // The entries are in the log and will be applied at the next start.
                    tracing::error!(%error, "the store's state failed; it takes no writes until it is restarted");
                    let answer = ProposeError::LogFailed(error.to_string());
                    replies.into_iter().for_each(|reply| drop(reply.send(Err(answer.clone()))));
                    return;
                }
            }
            unflushed += bytes;
            if self.state.applied() - flushed_at >= self.options.flush_entries || unflushed >= FLUSH_BYTES {
                self.flush();
                (flushed_at, unflushed) = (self.state.applied(), 0);
            }
        }
        self.flush();
    }

    fn flush(&self) {
        match self.state.flush() {
            // The log thread may have ended before us, at close.
            Ok(index) => drop(self.flushed.send(index)),
            Err(error) => {
                tracing::warn!(%error, "the store's state could not be put on disk; its log is kept")
            }
        }
    }
}

//! The apply thread of a Raft member: commands of committed entries go to the store's state, and answers to who waits.
//!
//! ```text
//!   Raft ─► batch ─► decode, one commit, answers ─► Raft
//! ```
//!
//! A thread of its own, because a commit may wait for the disk: Raft's own threads go on meanwhile, and none is started
//! or woken to stand in for one that waits. There is one batch at a time, Raft waits for it; the thread ends with
//! Raft's end of its queue.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use openraft::EntryPayload;
use openraft::storage::EntryResponder;
use tokio::sync::{Notify, oneshot};

use super::declared::{Answer, TypeConfig};
use super::machine::place;
use crate::command::Command;
use crate::state::{Progress, State, StateError};

/// Bytes of commands after which the state is put on disk although they are few: what the log keeps, and what a start
/// reads, stays bounded.
const FLUSH_BYTES: usize = 256 << 20;

/// A batch, and who waits for its end.
struct Work {
    batch: Vec<EntryResponder<TypeConfig>>,
    /// The latest membership in it, encoded.
    membership: Option<Vec<u8>>,
    done: oneshot::Sender<io::Result<()>>,
}

/// The thread, from outside.
pub(super) struct Applier {
    queue: Sender<Work>,
}

impl Applier {
    /// Starts it. `bulky` asks for the state to be put on disk.
    pub(super) fn start(state: Arc<State>, bulky: Arc<Notify>) -> io::Result<(Applier, JoinHandle<()>)> {
        let (queue, work) = channel();
        let thread = std::thread::Builder::new()
            .name("store-apply".into())
            .spawn(move || run(&state, &bulky, &work))?;
        Ok((Applier { queue }, thread))
    }

    /// Applies a batch; everyone in it is answered when this returns.
    pub(super) async fn apply(
        &self,
        batch: Vec<EntryResponder<TypeConfig>>,
        membership: Option<Vec<u8>>,
    ) -> io::Result<()> {
        let ended = || io::Error::other("the thread that applies to the store's state has ended");
        let (done, outcome) = oneshot::channel();
        self.queue.send(Work { batch, membership, done }).map_err(|_| ended())?;
        outcome.await.map_err(|_| ended())?
    }
}

fn run(state: &State, bulky: &Notify, work: &Receiver<Work>) {
    let mut unflushed = 0;
    while let Some(Work { batch, membership, done }) = state.next_work(work) {
        let applied = apply(state, batch, membership);
        unflushed += applied.as_ref().map_or(0, |bytes| *bytes);
        if unflushed >= FLUSH_BYTES {
            unflushed = 0;
            bulky.notify_one();
        }
        // Raft may have ended.
        let _ = done.send(applied.map(drop));
    }
}

/// Gives the bytes of the batch's commands.
fn apply(
    state: &State,
    batch: Vec<EntryResponder<TypeConfig>>,
    membership: Option<Vec<u8>>,
) -> io::Result<usize> {
    let mut commands = Vec::with_capacity(batch.len());
    let mut bytes = 0;
    for (entry, _) in &batch {
        let EntryPayload::Normal(payload) = &entry.payload else { continue };
        let index = entry.log_id.index;
        bytes += payload.0.len();
        let command: Command = postcard::from_bytes(&payload.0).map_err(|error| {
            io::Error::other(StateError::UnknownCommand { index, reason: error.to_string() })
        })?;
        commands.push((index, command));
    }
    let progress = Progress { place: batch.last().map(|(entry, _)| place(&entry.log_id)), membership };
    let replies = state.apply_at(&commands, &progress).map_err(io::Error::other)?;
    let mut replies = replies.into_iter();
    for (entry, responder) in batch {
        let reply = match entry.payload {
            EntryPayload::Normal(_) => replies.next(),
            EntryPayload::Blank | EntryPayload::Membership(_) => None,
        };
        if let Some(responder) = responder {
            responder.send(Answer(reply));
        }
    }
    Ok(bytes)
}

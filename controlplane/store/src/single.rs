//! Consensus of one: a log, a thread that syncs it, and a thread that applies it.
//!
//! ```text
//!   propose ─► queue ─► log thread: take all that waits, write, fdatasync ─► apply thread ─► replies
//! ```
//!
//! While one batch is applied the next one is synced, and everything that arrives during a sync shares
//! the next. No request runs on these threads, so none can starve them.

mod apply;
mod journal;

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::sync::{Semaphore, oneshot};

use crate::OpenError;
use crate::command::{Command, Reply, Urgency};
use crate::consensus::{Consensus, ProposeError, Proposed};
use crate::health::{Gauge, Health};
use crate::log::{Log, RECORD_LIMIT};
use crate::state::{State, StateError};

/// Proposals that may wait for the log; further ones wait for room.
const QUEUE_PROPOSALS: usize = 4096;
/// Batches between the log thread and the apply thread.
const QUEUE_BATCHES: usize = 2;
/// Log entries replayed in one commit at open.
const REPLAY_ENTRIES: usize = 1024;

/// What can be chosen when a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct SingleOptions {
    /// How long a relaxed proposal waits for an urgent one to share its sync.
    pub relaxed_delay: Duration,
    /// Log entries after which the state is put on disk and the log before it is dropped.
    pub flush_entries: u64,
}

impl Default for SingleOptions {
    fn default() -> SingleOptions {
        SingleOptions { relaxed_delay: Duration::from_millis(200), flush_entries: 20_000 }
    }
}

/// A command on its way through the log.
struct Proposal {
    payload: Vec<u8>,
    command: Command,
    urgency: Urgency,
    reply: apply::Answer,
    /// Its place in the queue, given back when the log has taken it.
    _place: tokio::sync::OwnedSemaphorePermit,
}

/// A log with one member.
pub struct SingleMember {
    state: Arc<State>,
    gauge: Arc<Gauge>,
    places: Arc<Semaphore>,
    queue: Option<mpsc::Sender<Proposal>>,
    threads: Vec<JoinHandle<()>>,
    /// Held while the store is open.
    _lock: File,
}

impl SingleMember {
    /// Opens the folder: takes its lock, opens the state, replays the log into it, starts the threads.
    pub fn open(folder: &Path, options: SingleOptions) -> Result<SingleMember, OpenError> {
        let lock = lock(folder)?;
        let state = Arc::new(State::open(&folder.join("state.redb"))?);
        let log = replay(folder, &state)?;
        let gauge = Arc::new(Gauge::default());
        let (queue, proposals) = mpsc::channel();
        let (batches, to_apply) = mpsc::sync_channel(QUEUE_BATCHES);
        let (flushed, forget) = mpsc::channel();
        let journal = journal::Journal { log, proposals, batches, forget, gauge: gauge.clone(), options };
        let applier = apply::Applier { state: state.clone(), to_apply, flushed, options };
        let threads = vec![
            spawn("store-log", folder, move || journal.run())?,
            spawn("store-apply", folder, move || applier.run())?,
        ];
        let places = Arc::new(Semaphore::new(QUEUE_PROPOSALS));
        Ok(SingleMember { state, gauge, places, queue: Some(queue), threads, _lock: lock })
    }

    /// The state that this member applies to.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }
}

impl Consensus for SingleMember {
    fn propose(&self, command: Command, urgency: Urgency) -> Proposed<'_, Reply> {
        Box::pin(async move {
            let payload =
                postcard::to_stdvec(&command).map_err(|error| ProposeError::Refused(error.to_string()))?;
            if payload.len() > RECORD_LIMIT {
                return Err(ProposeError::TooLarge { size: payload.len(), limit: RECORD_LIMIT });
            }
            let place = self.places.clone().acquire_owned().await.map_err(|_| ProposeError::Closed)?;
            let (reply, answer) = oneshot::channel();
            let proposal = Proposal { payload, command, urgency, reply, _place: place };
            let queue = self.queue.as_ref().ok_or(ProposeError::Closed)?;
            queue.send(proposal).map_err(|_| ProposeError::Closed)?;
            answer.await.map_err(|_| ProposeError::Closed)?
        })
    }

    fn barrier(&self) -> Proposed<'_, ()> {
        // A reply is given after its command was applied, so the state holds all that was acknowledged.
        Box::pin(std::future::ready(Ok(())))
    }

    fn health(&self) -> Health {
        self.gauge.read()
    }
}

impl Drop for SingleMember {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

pub(crate) fn lock(folder: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Folder { path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let lock =
        File::options().create(true).truncate(false).write(true).open(folder.join("lock")).map_err(failed)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse { path: folder.to_owned() }),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// Brings the state up to the end of the log.
pub(crate) fn replay(folder: &Path, state: &State) -> Result<Log, OpenError> {
    let mut waiting = Vec::new();
    let log = Log::open(&folder.join("log"), state.applied(), |index, payload| {
        let command = postcard::from_bytes(payload)
            .map_err(|error| StateError::UnknownCommand { index, reason: error.to_string() })?;
        waiting.push((index, command));
        if waiting.len() == REPLAY_ENTRIES {
            state.apply(&waiting)?;
            waiting.clear();
        }
        Ok::<(), OpenError>(())
    })?;
    state.apply(&waiting)?;
    Ok(log)
}

fn spawn(
    name: &str,
    folder: &Path,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, OpenError> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(run)
        .map_err(|source| OpenError::Folder { path: folder.to_owned(), source })
}

//! A member of a cluster: Raft orders the commands of up to seven members, each with its own log and state.
//!
//! ```text
//!   propose ─► leader? ─ no ─► the leader, over the wire ─► wait until applied here
//!                └ yes ─► Raft ─► journal (append, fdatasync) and followers ─► committed ─► State ─► replies
//!
//! <store>/raft/member      who this member is, its vote (member_file)
//! <store>/raft/log/        segments, as in a store of one member (journal, entry)
//! <store>/state.redb       the state, as in a store of one member, with its place in the log and the membership
//! ```
//!
//! Raft itself is openraft's; here are its log, its state machine, its wire, and what a store needs around it. It runs on
//! threads of its own: no request can keep a heartbeat waiting.
//!
//! **Invariants**
//! - A command is answered once it is on the disks of a majority and applied where it was asked.
//! - A command whose fate is not known is answered so, and never tried again by itself.
//! - A member whose log cannot be written goes on serving what it has, one whose database failed answers nothing until it
//!   is restarted; nothing here ends the process.

mod applier;
mod cache;
mod client;
mod declared;
mod entry;
mod folder;
mod frame;
mod handler;
mod journal;
mod listener;
mod log_store;
mod machine;
mod member_file;
mod members;
mod message;
mod network;
mod proposing;
mod snapshot;
mod stepping_down;
mod tls;
mod together;
mod transport;

use std::collections::HashMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{Config, RaftMetrics, SnapshotPolicy};
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

pub use client::Client;
pub use declared::{Peer, TypeConfig};
pub use folder::{
    Recovered, address, check_snapshot, is_member, recover, restore, save_snapshot, save_stopped,
};
pub use handler::Handler;
pub use members::{Change, MEMBERS_LIMIT, Member, Role, Status};
pub use message::{Refusal, Request, Response};
pub use tls::PeerTls;
pub use transport::{CallError, Called, Lane, Transport};

use crate::OpenError;
use crate::command::{Command, Reply, Urgency};
use crate::consensus::{Consensus, ProposeError, Proposed};
use crate::health::{Gauge, Health};
use crate::state::State;
use declared::Raft;
use handler::Incoming;
use journal::{Journal, Shared};

/// Between two heartbeats of a leader.
const HEARTBEAT_MILLIS: u64 = 100;
/// A follower that hears nothing for the longer of these, and then for a random time between both, wants to lead.
const ELECTION_MILLIS: (u64, u64) = (250, 400);
/// Entries after which the state is put on disk and the log before it may go.
const FLUSH_ENTRIES: u64 = 20_000;
/// Entries kept for members that are a little behind.
const KEPT_ENTRIES: u64 = 2000;
/// Entries in one message to a follower.
const MESSAGE_ENTRIES: u64 = 4096;
/// KiB of proposals under way.
const PROPOSED_KIB: usize = 64 << 10;
/// Threads of Raft and the wire.
const THREADS: usize = 2;
/// How long what they still do may hold up a member that closes.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// What files of snapshots on their way begin with.
const RECEIVING: &str = ".receiving-";

/// What a member needs to know.
#[derive(Clone, Debug)]
pub struct RaftOptions {
    /// This member as others reach it.
    pub peer: Peer,
    /// How long a relaxed proposal waits for an urgent one to share its sync.
    pub relaxed_delay: Duration,
    /// Entries after which the state is put on disk and the log before it may go.
    pub flush_entries: u64,
}

impl RaftOptions {
    /// The usual ones.
    pub fn new(peer: Peer) -> RaftOptions {
        RaftOptions { peer, relaxed_delay: Duration::from_millis(200), flush_entries: FLUSH_ENTRIES }
    }
}

/// How a member reaches others and is reached.
pub enum Wire {
    /// TLS on this address.
    Tls {
        /// Where to listen.
        listen: SocketAddr,
        /// This member's certificate and whom it believes.
        tls: PeerTls,
    },
    /// Something else; who made it brings requests to [`RaftMember::handler`].
    Other(Arc<dyn Transport>),
}

/// A member of a cluster.
pub struct RaftMember {
    inner: Arc<Inner>,
    runtime: Option<Runtime>,
    /// They end with Raft.
    threads: Vec<JoinHandle<()>>,
    /// Held while the store is open.
    _lock: File,
}

pub(crate) struct Inner {
    raft: Raft,
    state: Arc<State>,
    shared: Arc<Shared>,
    transport: Arc<dyn Transport>,
    id: u64,
    cluster: Arc<AtomicU64>,
    folder: PathBuf,
    incoming: Mutex<Option<Incoming>>,
    outgoing: Mutex<Option<(u64, snapshot::Encoder)>>,
    changing: tokio::sync::Mutex<()>,
    places: Arc<Semaphore>,
    urgent: Notify,
    relaxed_delay: Duration,
    reads: proposing::Reads,
    /// Whoever waits for something is told that it will not come.
    stopped: CancellationToken,
}

impl RaftMember {
    /// Opens a member's folder and takes part in its cluster. A folder of a store of one member becomes the first
    /// member of a cluster; an empty one too, unless it is to `join`: then it waits for a leader to take it in.
    pub fn open(
        folder: &Path,
        options: RaftOptions,
        wire: Wire,
        join: bool,
    ) -> Result<RaftMember, OpenError> {
        let opened = folder::open(folder, &options.peer, join)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("store-raft")
            .enable_all()
            .build()
            .map_err(|source| OpenError::Folder { path: folder.to_owned(), source })?;
        let handle = runtime.handle().clone();
        // The caller may be on a runtime of its own, where nothing may block on another one.
        let started = std::thread::scope(|scope| {
            scope.spawn(|| handle.block_on(start(opened, options, wire, folder))).join()
        });
        let started = started.unwrap_or_else(|_| Err(raft_failed(folder, "its start panicked")));
        started.map(|(inner, threads, lock)| RaftMember {
            inner,
            runtime: Some(runtime),
            threads,
            _lock: lock,
        })
    }

    /// The state that this member applies to.
    pub fn state(&self) -> &Arc<State> {
        &self.inner.state
    }

    /// This member's number.
    pub fn id(&self) -> u64 {
        self.inner.id
    }

    /// Where requests of other members are answered.
    pub fn handler(&self) -> Handler {
        Handler(self.inner.clone())
    }

    /// How this member does.
    pub fn status(&self) -> Status {
        self.inner.status()
    }

    /// Asks the leader for a change of the membership and waits until this member knows of it.
    pub async fn change(&self, change: Change) -> Result<(), ProposeError> {
        self.inner.change_anywhere(change).await
    }

    /// How another member does.
    pub async fn status_of(&self, member: &Member, limit: Duration) -> Result<Status, String> {
        if member.id == self.inner.id {
            return Ok(self.status());
        }
        let asked =
            self.inner.transport.call(Lane::Forward, member.id, &member.peer, Request::Status, limit).await;
        match asked {
            Ok(Response::Status(status)) => Ok(*status),
            Ok(other) => Err(format!("an answer to something else: {other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Takes no part any more: whoever waits is answered that the store closes. What is open closes with the last user.
    pub async fn stop(&self) {
        self.inner.stopped.cancel();
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::error!(%error, "Raft did not stop in order");
        }
    }

    /// Waits until there is a leader and this member has applied what it had in its log; what a restart does before
    /// it answers anybody.
    pub async fn settled(&self, limit: Duration) -> Result<(), String> {
        self.inner.raft.wait_for_recovery(Some(limit)).await.map(drop).map_err(|error| error.to_string())
    }
}

async fn start(
    opened: folder::Opened,
    options: RaftOptions,
    wire: Wire,
    path: &Path,
) -> Result<(Arc<Inner>, Vec<JoinHandle<()>>, File), OpenError> {
    let failed = |reason: String| raft_failed(path, &reason);
    let folder::Opened { lock, state, log, file, last, committed } = opened;
    let promise = file.promise();
    let gauge = Arc::new(Gauge::default());
    let shared = Arc::new(Shared::new(log, file, last, committed, gauge));
    let (orders, queue) = mpsc::channel();
    let journal = Journal { shared: shared.clone(), orders: queue, deferred: Default::default() };
    let journal = std::thread::Builder::new()
        .name("store-log".into())
        .spawn(move || journal.run())
        .map_err(|source| OpenError::Folder { path: path.to_owned(), source })?;
    let cluster = Arc::new(AtomicU64::new(promise.cluster));
    let mut listening = None;
    let transport: Arc<dyn Transport> = match wire {
        Wire::Other(transport) => transport,
        Wire::Tls { listen, tls } => {
            let listener = TcpListener::bind(listen).await;
            let listener = listener.map_err(|error| failed(format!("listening on {listen}: {error}")))?;
            listening = Some((listener, tls.clone()));
            Arc::new(tls::Dialler {
                runtime: Handle::current(),
                tls,
                own: promise.member,
                cluster: cluster.clone(),
                connections: Mutex::new(HashMap::new()),
            })
        }
    };
    let links = network::Links { transport: transport.clone(), transfers: Arc::new(AtomicU64::new(1)) };
    let store = log_store::LogStore::new(shared.clone(), orders);
    let bulky = Arc::new(Notify::new());
    let (applier, applying) = applier::Applier::start(state.clone(), bulky.clone())
        .map_err(|source| OpenError::Folder { path: path.to_owned(), source })?;
    let machine = machine::Machine::new(state.clone(), applier).map_err(failed)?;
    let config = Arc::new(config(&options).map_err(failed)?);
    let raft = Raft::new(promise.member, config, links, store, machine).await;
    let inner = Arc::new(Inner {
        raft: raft.map_err(|error| failed(error.to_string()))?,
        state,
        shared,
        transport,
        id: promise.member,
        cluster,
        folder: path.join(folder::RAFT),
        incoming: Mutex::new(None),
        outgoing: Mutex::new(None),
        changing: tokio::sync::Mutex::new(()),
        places: Arc::new(Semaphore::new(PROPOSED_KIB)),
        urgent: Notify::new(),
        relaxed_delay: options.relaxed_delay,
        reads: proposing::Reads::default(),
        stopped: CancellationToken::new(),
    });
    // Ends when Raft does, as the listener ends with the runtime.
    tokio::spawn(rest_while_alone(inner.clone()));
    tokio::spawn(stepping_down::watch(inner.clone()));
    let raft = inner.raft.clone();
    tokio::spawn(async move {
        loop {
            bulky.notified().await;
            if raft.trigger().snapshot().await.is_err() {
                return;
            }
        }
    });
    if let Some((listener, tls)) = listening {
        tokio::spawn(listener::listen(listener, tls, Handler(inner.clone())));
    }
    Ok((inner, vec![journal, applying], lock))
}

/// A leader without followers has nobody to tell that it lives: its clock stands still, and an idle store is idle.
async fn rest_while_alone(inner: Arc<Inner>) {
    let mut metrics = inner.raft.server_metrics();
    loop {
        let alone = {
            let now = metrics.borrow_watched();
            now.current_leader == Some(inner.id) && now.membership_config.nodes().count() == 1
        };
        inner.raft.runtime_config().tick(!alone);
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

fn raft_failed(path: &Path, reason: &str) -> OpenError {
    OpenError::Raft { path: path.to_owned(), reason: reason.to_owned() }
}

fn config(options: &RaftOptions) -> Result<Config, String> {
    let config = Config {
        cluster_name: "keelson".into(),
        heartbeat_interval: HEARTBEAT_MILLIS,
        election_timeout_min: ELECTION_MILLIS.0,
        election_timeout_max: ELECTION_MILLIS.1,
        max_payload_entries: MESSAGE_ENTRIES,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.flush_entries),
        max_in_snapshot_log_to_keep: KEPT_ENTRIES.min(options.flush_entries),
        enable_pre_vote: Some(true),
        ..Config::default()
    };
    config.validate().map_err(|error| error.to_string())
}

impl Inner {
    /// Whether another member could lead.
    fn has_others(&self) -> bool {
        self.raft.metrics().borrow_watched().membership_config.voter_ids().count() > 1
    }

    fn metrics(&self) -> RaftMetrics<TypeConfig> {
        self.raft.metrics().borrow_watched().clone()
    }
}

impl Consensus for RaftMember {
    fn propose(&self, command: Command, urgency: Urgency) -> Proposed<'_, Reply> {
        Box::pin(self.inner.while_open(self.inner.propose(command, urgency)))
    }

    fn barrier(&self) -> Proposed<'_, ()> {
        Box::pin(self.inner.while_open(self.inner.barrier()))
    }

    fn health(&self) -> Health {
        self.inner.shared.gauge.read()
    }
}

impl Drop for RaftMember {
    fn drop(&mut self) {
        self.inner.stopped.cancel();
        self.inner.shared.closing.store(true, Ordering::Release);
        if let Some(runtime) = self.runtime.take() {
            let raft = self.inner.raft.clone();
            let stop = move || {
                let stopped = runtime.block_on(raft.shutdown());
                // The listener has the port and connections the state: both are free for whoever opens them next.
                runtime.shutdown_timeout(STOP_LIMIT);
                stopped
            };
            let stopped = std::thread::scope(|scope| scope.spawn(stop).join());
            if !matches!(stopped, Ok(Ok(()))) {
                tracing::error!("Raft did not stop in order");
            }
        }
        // Their queues ended with Raft.
        self.threads.drain(..).for_each(machine::join);
        if let Err(error) = self.inner.state.flush() {
            tracing::warn!(%error, "the store's state could not be put on disk; its log is kept");
        }
    }
}

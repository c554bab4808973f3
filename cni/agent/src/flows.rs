//! `flows.sock`: what became of packets, with the names of pods. Root only.
//!
//! ```text
//! programs ── ring ──▶ reader ── names ──▶ the last ones in memory ──▶ followers
//! ```
//!
//! Drops are always reported; the rest only while somebody asks for it. One line of JSON in: [`Question`]. Lines of JSON out:
//! one for each flow, and `{"lost":n}` where a follower was too slow.
//!
//! **Invariants.** Memory holds [`KEPT`] flows; a follower that lags loses the oldest and is told how many. At most
//! [`FOLLOWERS_MAX`] at a time.

mod filter;
mod flow;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use datapath::{Reports, Tables};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::metrics::Figures;
use crate::policy::Pod;

pub use filter::{Filter, moment, range};
pub use flow::{Clock, End, Flow, Named};

/// The socket's name in the state folder.
pub const SOCKET: &str = "flows.sock";
/// Flows that are kept, and that a follower may be behind.
const KEPT: usize = 4_096;
const FOLLOWERS_MAX: usize = 16;
const QUESTION_BYTES_MAX: u64 = 1 << 16;
/// Between connecting and asking.
const READ_PATIENCE: Duration = Duration::from_secs(5);
/// Packets read in one go before others get their turn.
const PACKETS_MAX: usize = 512;

/// What a client asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Question {
    pub version: u32,
    /// Go on with what comes.
    pub follow: bool,
    /// Also what is not dropped, while this is followed.
    pub all: bool,
    /// The most of those that were before.
    pub last: usize,
    pub filter: Filter,
}

/// What the agent tells this room: where the maps are, and whose addresses are whose. Names change in place, and nobody is
/// woken by that.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    pub tables: Option<Tables>,
    /// Pods of this node, as the plugin names them.
    pub own: BTreeMap<IpAddr, Named>,
    /// As the API has them, while policies have them followed.
    pub elsewhere: BTreeMap<IpAddr, Arc<Pod>>,
}

impl Sight {
    fn name(&self, address: IpAddr) -> Option<Named> {
        let elsewhere = || {
            let pod = self.elsewhere.get(&address)?;
            Some(Named { namespace: pod.class.namespace.clone(), pod: pod.name.clone() })
        };
        self.own.get(&address).cloned().or_else(elsewhere)
    }
}

/// The listening socket; removed when dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

/// A follower comes.
type Coming = oneshot::Sender<(Vec<Arc<Flow>>, broadcast::Receiver<Arc<Flow>>)>;

impl Server {
    /// The caller holds the state folder's lock: a socket that is there is a dead agent's.
    pub fn bind(path: &Path) -> io::Result<Server> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Server { listener, path: path.to_owned() })
    }

    /// Reads and serves until it is told to stop.
    pub async fn run(
        self,
        sight: watch::Receiver<Sight>,
        figures: Arc<Figures>,
        stopping: CancellationToken,
    ) {
        let (coming, comers) = mpsc::channel(FOLLOWERS_MAX);
        let (demand, demanded) = watch::channel(0);
        let mut open = JoinSet::new();
        open.spawn(read(sight, comers, demanded, figures.clone()));
        let places = Arc::new(Semaphore::new(FOLLOWERS_MAX));
        let demand = Arc::new(demand);
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { break };
            let accepted = tokio::select! {
                () = stopping.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (coming, demand, figures) = (coming.clone(), demand.clone(), figures.clone());
                    open.spawn(async move {
                        let _place = place;
                        if let Err(error) = serve(stream, coming, &demand, &figures).await {
                            tracing::debug!(%error, "a follower of flows broke off");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a follower of flows");
                    // Out of descriptors, most likely: give others time to close theirs.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            while open.try_join_next().is_some() {}
        }
        open.shutdown().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that cannot be removed refuses connections, which says the same.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Follows the ring. Keeps the last flows, and gives each to whoever follows.
async fn read(
    mut sight: watch::Receiver<Sight>,
    mut comers: mpsc::Receiver<Coming>,
    mut demanded: watch::Receiver<usize>,
    figures: Arc<Figures>,
) {
    let (told, _) = broadcast::channel(KEPT);
    let mut kept: VecDeque<Arc<Flow>> = VecDeque::new();
    let mut ring: Option<AsyncFd<Ring>> = None;
    let seen = sight.clone();
    loop {
        tokio::select! {
            changed = sight.changed() => {
                if changed.is_err() {
                    return;
                }
                let tables = sight.borrow_and_update().tables.clone();
                if ring.is_none() && let Some(tables) = tables {
                    ring = open(&tables);
                    switch(&tables, *demanded.borrow() > 0);
                }
            }
            changed = demanded.changed() => {
                if changed.is_err() {
                    return;
                }
                let all = *demanded.borrow_and_update() > 0;
                if let Some(tables) = &sight.borrow().tables {
                    switch(tables, all);
                }
            }
            Some(comer) = comers.recv() => {
                // One that has gone meanwhile.
                let _ = comer.send((kept.iter().cloned().collect(), told.subscribe()));
            }
            () = take(&mut ring, &seen, &mut kept, (&told, &figures)), if ring.is_some() => {}
        }
    }
}

/// The ring inside the reactor.
struct Ring {
    reports: Reports,
    descriptor: OwnedFd,
}

impl std::os::fd::AsRawFd for Ring {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.descriptor.as_raw_fd()
    }
}

fn open(tables: &Tables) -> Option<AsyncFd<Ring>> {
    let opened = tables.reports().map_err(|error| crate::failure::chain(&error)).and_then(|reports| {
        let descriptor = reports.as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
        // As in `events`: the descriptor is the ring's own and lives as long.
        #[allow(deprecated)]
        AsyncFd::new(Ring { reports, descriptor }).map_err(|error| error.to_string())
    });
    opened.inspect_err(|error| tracing::warn!(error, "reports of packets cannot be read")).ok()
}

fn switch(tables: &Tables, all: bool) {
    if let Err(error) = tables.report_flows(all) {
        tracing::warn!(error = %crate::failure::chain(&error), all, "reports of flows cannot be switched");
    }
}

async fn take(
    ring: &mut Option<AsyncFd<Ring>>,
    sight: &watch::Receiver<Sight>,
    kept: &mut VecDeque<Arc<Flow>>,
    (told, figures): (&broadcast::Sender<Arc<Flow>>, &Figures),
) {
    let Some(ring) = ring else { return std::future::pending().await };
    let Ok(mut guard) = ring.readable_mut().await else { return std::future::pending().await };
    let clock = flow::Clock::now();
    for _ in 0..PACKETS_MAX {
        let Some(packet) = guard.get_inner_mut().reports.take() else {
            guard.clear_ready();
            return;
        };
        figures.reported(packet.verdict);
        let sight = sight.borrow();
        let flow = Arc::new(Flow::of(&packet, |address| sight.name(address), &clock));
        drop(sight);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(flow.clone());
        // Nobody follows: it is kept all the same.
        let _ = told.send(flow);
    }
}

/// Counts a demand for everything while it lives.
struct Demand<'a>(&'a watch::Sender<usize>);

impl Drop for Demand<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

async fn serve(
    stream: UnixStream,
    coming: mpsc::Sender<Coming>,
    demand: &watch::Sender<usize>,
    figures: &Figures,
) -> io::Result<()> {
    let caller = stream.peer_cred()?;
    let (from, mut to) = stream.into_split();
    if caller.uid() != 0 {
        return to.write_all(b"{\"error\":\"only root may see flows\"}\n").await;
    }
    let mut line = String::new();
    let mut reader = BufReader::new(from.take(QUESTION_BYTES_MAX));
    match tokio::time::timeout(READ_PATIENCE, reader.read_line(&mut line)).await {
        Ok(read) => drop(read?),
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    }
    let question: Question = match serde_json::from_str(&line) {
        Ok(question) => question,
        Err(error) => {
            let said = serde_json::json!({"error": format!("a question that cannot be read: {error}")});
            return to.write_all(format!("{said}\n").as_bytes()).await;
        }
    };
    let _demand = (question.follow && question.all).then(|| {
        demand.send_modify(|count| *count += 1);
        Demand(demand)
    });
    let (answer, answered) = oneshot::channel();
    coming.send(answer).await.map_err(io::Error::other)?;
    let (kept, mut news) = answered.await.map_err(io::Error::other)?;
    let wanted: Vec<_> = kept.into_iter().filter(|flow| question.filter.matches(flow)).collect();
    for flow in wanted.iter().skip(wanted.len().saturating_sub(question.last)) {
        to.write_all(flow.line().as_bytes()).await?;
    }
    if !question.follow {
        return Ok(());
    }
    let mut ended = [0];
    loop {
        let told = tokio::select! {
            told = news.recv() => told,
            // The other side is gone, or says what it need not.
            _ = reader.read(&mut ended) => return Ok(()),
        };
        match told {
            Ok(flow) if question.filter.matches(&flow) => to.write_all(flow.line().as_bytes()).await?,
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(count)) => {
                figures.lost.fetch_add(count, Ordering::Relaxed);
                to.write_all(format!("{{\"lost\":{count}}}\n").as_bytes()).await?;
            }
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        }
    }
}

//! Members on a simulated network, that can end and come back.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keelson_store::raft::{Change, Peer, RaftOptions, Role, Status, Wire};
use keelson_store::{EventKind, KeyRange, Revision, Store, WatchError, end_of_records};

use super::network::{Network, Plug};
use super::random::Random;

/// So few that snapshots and purges happen all the time.
const FLUSH_ENTRIES: u64 = 64;
/// How long everything may take to be well again.
const SETTLE: Duration = Duration::from_secs(120);

/// The members; one that ended has no store.
pub struct Cluster {
    pub network: Arc<Network>,
    folders: Vec<tempfile::TempDir>,
    stores: Mutex<Vec<Option<Store>>>,
    /// The last revision, once nobody writes any more.
    last: tokio::sync::watch::Sender<Option<u64>>,
}

impl Cluster {
    pub async fn start(members: usize, random: Random) -> Cluster {
        let cluster = Cluster {
            network: Arc::new(Network::new(random)),
            folders: (0..members).map(|_| tempfile::tempdir().unwrap()).collect(),
            stores: Mutex::new(vec![None; members]),
            last: tokio::sync::watch::Sender::new(None),
        };
        for at in 0..members {
            cluster.open(at, at > 0);
            if at > 0 {
                let id = cluster.store(at).unwrap().member().unwrap().id();
                let first = cluster.store(0).unwrap();
                let first = first.member().unwrap();
                first.change(Change::AddLearner { id, peer: peer(at) }).await.unwrap();
                first.change(Change::Promote { id }).await.unwrap();
            }
        }
        cluster
    }

    pub fn store(&self, at: usize) -> Option<Store> {
        self.stores.lock().unwrap()[at].clone()
    }

    pub fn open(&self, at: usize, join: bool) {
        let options = RaftOptions { flush_entries: FLUSH_ENTRIES, ..RaftOptions::new(peer(at)) };
        let wire = Wire::Other(Arc::new(Plug { network: self.network.clone(), at }));
        // A predecessor's last user may still be letting go of it.
        let mut tries = 0..700;
        let store = loop {
            match Store::open_member(self.folders[at].path(), options.clone(), clone_wire(&wire), join) {
                Ok(store) => break store,
                Err(error) if tries.next().is_none() => panic!("member {at} does not open: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let member = store.member().unwrap();
        self.network.plug(member.id(), at, member.handler());
        self.stores.lock().unwrap()[at] = Some(store);
    }

    /// Ends a member; what it was writing at that moment may be half on the disk.
    pub async fn crash(&self, at: usize, random: &mut Random) {
        let Some(store) = self.stores.lock().unwrap()[at].take() else { return };
        let member = store.member().unwrap();
        self.network.unplug(member.id());
        member.stop().await;
        tokio::task::block_in_place(|| drop(store));
        // Clients and the network let go of it.
        let lock = std::fs::File::open(self.folders[at].path().join("lock")).unwrap();
        while lock.try_lock().is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(lock);
        if random.percent(70) {
            tear(&self.folders[at].path().join("raft/log"), random);
        }
    }

    /// A member's disk is gone: another one takes its place, in a new folder, as a learner first.
    pub async fn replace(&self, at: usize, random: &mut Random) {
        let Some(id) = self.store(at).map(|store| store.member().unwrap().id()) else { return };
        self.crash(at, random).await;
        let folder = self.folders[at].path();
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
        }
        self.change(at, || Change::Remove { id }, |status| status.members.iter().all(|m| m.id != id)).await;
        tokio::task::block_in_place(|| self.open(at, true));
        let id = self.store(at).unwrap().member().unwrap().id();
        let known = |status: &Status| status.members.iter().any(|m| m.id == id);
        self.change(at, || Change::AddLearner { id, peer: peer(at) }, known).await;
        let votes = |status: &Status| status.members.iter().any(|m| m.id == id && m.voter);
        self.change(at, || Change::Promote { id }, votes).await;
    }

    /// Asks any member but one for a change until it is there.
    async fn change(&self, but: usize, change: impl Fn() -> Change, there: impl Fn(&Status) -> bool) {
        let asked = async {
            for at in (0..self.folders.len()).cycle().filter(|at| *at != but) {
                let Some(store) = self.store(at) else { continue };
                let member = store.member().unwrap();
                // A refusal may only mean that the one before was carried out all the same.
                let _ = tokio::time::timeout(Duration::from_secs(5), member.change(change())).await;
                if there(&member.status()) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(SETTLE, asked).await.expect("a majority is there, so the change is carried out");
    }

    pub fn leader(&self) -> Option<usize> {
        let stores = self.stores.lock().unwrap();
        stores.iter().position(|store| {
            store.as_ref().is_some_and(|store| store.member().unwrap().status().role == Role::Leader)
        })
    }

    /// Everybody is back and has everything; gives the revision.
    pub async fn settle(&self) -> u64 {
        self.network.heal();
        let members = self.folders.len();
        let deadline = tokio::time::Instant::now() + SETTLE;
        loop {
            let mut revisions = Vec::new();
            for at in 0..members {
                if self.store(at).is_none() {
                    self.open(at, false);
                }
                let store = self.store(at).unwrap();
                if store.barrier().await.is_ok() {
                    revisions.push(store.state().revision().0);
                }
            }
            if revisions.len() == members && revisions.iter().all(|revision| *revision == revisions[0]) {
                self.last.send_replace(Some(revisions[0]));
                return revisions[0];
            }
            assert!(tokio::time::Instant::now() < deadline, "the members do not agree: {revisions:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn clone_wire(wire: &Wire) -> Wire {
    match wire {
        Wire::Other(transport) => Wire::Other(transport.clone()),
        Wire::Tls { listen, tls } => Wire::Tls { listen: *listen, tls: tls.clone() },
    }
}

fn peer(at: usize) -> Peer {
    Peer { name: format!("m{at}"), address: format!("192.0.2.{}:1", at + 1) }
}

/// Leaves what a power failure leaves of a batch that was never synced: any part of it, behind the last record or behind
/// the room that was made for it.
fn tear(log: &Path, random: &mut Random) {
    let mut segments: Vec<_> = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    let Some(last) = segments.last() else { return };
    let mut bytes = std::fs::read(last).unwrap();
    let torn: Vec<u8> = (0..1 + random.below(400)).map(|_| random.next() as u8).collect();
    let end = if random.percent(80) { end_of_records(&bytes) } else { bytes.len() };
    bytes.resize(bytes.len().max(end + torn.len()), 0);
    for (at, byte) in torn.into_iter().enumerate() {
        // Blocks reach the disk in any order.
        if !random.percent(20) {
            bytes[end + at] = byte;
        }
    }
    std::fs::write(last, bytes).unwrap();
}

/// A change as a watcher sees it: revision and position, then key and value.
pub type Told = ((u64, u32), (Vec<u8>, Option<Vec<u8>>));

/// Watches on one member from the first revision on, over all its ends, until the last revision.
pub async fn watch(cluster: Arc<Cluster>, at: usize) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::new();
    let mut next = Revision(1);
    let mut last = cluster.last.subscribe();
    loop {
        if last.borrow_and_update().is_some_and(|last| next.0 > last) {
            return told;
        }
        let Some(store) = cluster.store(at) else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let mut watcher = store.watch(KeyRange::prefix(""), next);
        drop(store);
        loop {
            let events = tokio::select! {
                events = tokio::time::timeout(Duration::from_millis(100), watcher.next()) => events,
                _ = last.changed() => break,
            };
            match events {
                Ok(Ok(events)) => {
                    next = events.last().unwrap().record.modified.next();
                    told.extend(events.iter().map(|event| {
                        let value = (event.kind == EventKind::Put).then(|| event.record.value.to_vec());
                        ((event.record.modified.0, event.sub), (event.record.key.to_vec(), value))
                    }));
                }
                Ok(Err(WatchError::Closed)) => break,
                Ok(Err(error)) => panic!("a watcher on member {at}: {error}"),
                Err(_) => {
                    // The member may have ended: its state lives as long as somebody watches it.
                    drop(watcher);
                    break;
                }
            }
        }
    }
}

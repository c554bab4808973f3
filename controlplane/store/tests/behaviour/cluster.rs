//! Members over their real wire, on loopback.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::api::free_address;
use keelson_store::Store;
use keelson_store::raft::{Change, Client, Peer, PeerTls, RaftOptions, Role, Wire};
use pki::{Authority, PEER_NAME, Profile, Usage};

/// How long a change may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Members of one cluster; a stopped one has no store.
pub struct Cluster {
    authority: Authority,
    pub members: Vec<Place>,
}

/// Where a member lives.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub address: SocketAddr,
    pub store: Option<Store>,
    pub flush_entries: u64,
}

impl Cluster {
    /// Waits until all have joined.
    pub async fn start(count: usize) -> Cluster {
        let mut cluster = Cluster { authority: authority(), members: Vec::new() };
        cluster.add(tempfile::tempdir().unwrap(), false);
        for _ in 1..count {
            cluster.join().await;
        }
        cluster
    }

    /// A place with an open member.
    pub fn add(&mut self, folder: tempfile::TempDir, join: bool) {
        let place = Place { folder, address: free_address(), store: None, flush_entries: 20_000 };
        self.members.push(place);
        let last = self.members.len() - 1;
        self.open(last, join);
    }

    /// One more member, with a vote.
    pub async fn join(&mut self) {
        self.add(tempfile::tempdir().unwrap(), true);
        let last = self.members.len() - 1;
        let (id, peer) = (self.id(last), self.peer(last));
        let leader = self.leader().await;
        let member = self.store(leader).member().unwrap().clone();
        member.change(Change::AddLearner { id, peer }).await.unwrap();
        member.change(Change::Promote { id }).await.unwrap();
    }

    pub fn open(&mut self, at: usize, join: bool) {
        let tls = tls(&self.authority);
        let peer = self.peer(at);
        let place = &mut self.members[at];
        let options = RaftOptions { flush_entries: place.flush_entries, ..RaftOptions::new(peer) };
        let wire = Wire::Tls { listen: place.address, tls };
        place.store = Some(Store::open_member(place.folder.path(), options, wire, join).unwrap());
    }

    pub fn peer(&self, at: usize) -> Peer {
        Peer { name: format!("m{at}"), address: self.members[at].address.to_string() }
    }

    /// Asks a member from outside, over one connection.
    pub fn client(&self, at: usize) -> Client {
        Client::new(&self.members[at].address.to_string(), tls(&self.authority))
    }

    pub fn stop(&mut self, at: usize) {
        self.members[at].store = None;
    }

    pub fn store(&self, at: usize) -> &Store {
        self.members[at].store.as_ref().unwrap()
    }

    pub fn id(&self, at: usize) -> u64 {
        self.store(at).member().unwrap().id()
    }

    /// Where the leader is that a majority of the running members follows.
    pub async fn leader(&self) -> usize {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            for (at, place) in self.members.iter().enumerate() {
                let Some(store) = &place.store else { continue };
                if store.member().unwrap().status().role == Role::Leader && store.barrier().await.is_ok() {
                    return at;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("nobody leads");
    }

    /// A member that does not lead.
    pub async fn follower(&self) -> usize {
        let leader = self.leader().await;
        (0..self.members.len()).find(|at| *at != leader && self.members[*at].store.is_some()).unwrap()
    }
}

pub fn authority() -> Authority {
    Authority::create("peers", now()).unwrap()
}

pub fn tls(authority: &Authority) -> PeerTls {
    let profile = Profile {
        common_name: "member".into(),
        organization: None,
        names: vec![PEER_NAME.into()],
        usage: Usage::Both,
        lifetime_seconds: 86_400,
    };
    PeerTls::new(&authority.issue(&profile, now()).unwrap(), authority.certificate_pem()).unwrap()
}

/// A cluster of one in a folder, reachable by nobody else.
pub fn open_one(folder: &Path, flush_entries: u64) -> Store {
    let address = free_address();
    let peer = Peer { name: "alone".into(), address: address.to_string() };
    let options = RaftOptions { flush_entries, ..RaftOptions::new(peer) };
    let wire = Wire::Tls { listen: address, tls: tls(&authority()) };
    Store::open_member(folder, options, wire, false).unwrap()
}

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

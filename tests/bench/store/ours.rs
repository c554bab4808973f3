//! Our store: members in a process of their own, asked over their wire, or in this one, asked directly.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keelson_store::raft::{Change, Client, Peer, PeerTls, RaftOptions, Role, Wire};
use keelson_store::{Command, Operation, Revision, Store, Transaction, Urgency};
use pki::{Authority, PEER_NAME, Profile, Usage};

use super::member::Members;
use harness::process;

use super::{AsyncPut, CONNECTIONS, Load, Turn, pair};

/// Writes of one batch where many keys are made.
const BATCH: usize = 100;

/// Members in this process.
pub struct Cluster {
    authority: Authority,
    stores: Vec<Store>,
    folders: Vec<tempfile::TempDir>,
    pub addresses: Vec<SocketAddr>,
}

impl Cluster {
    pub async fn start(authority: Authority, members: usize) -> Cluster {
        let mut cluster =
            Cluster { authority, stores: Vec::new(), folders: Vec::new(), addresses: Vec::new() };
        for at in 0..members {
            let folder = tempfile::tempdir().expect("a folder");
            let address = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
            let peer = Peer { name: format!("m{at}"), address: address.to_string() };
            let store = open(folder.path(), &peer, address, cluster.tls(), at > 0);
            cluster.folders.push(folder);
            cluster.addresses.push(address);
            cluster.stores.push(store);
            if at > 0 {
                let id = cluster.stores[at].member().expect("a member").id();
                let leader = cluster.stores[0].member().expect("a member");
                leader.change(Change::AddLearner { id, peer }).await.expect("a learner");
                leader.change(Change::Promote { id }).await.expect("a vote");
            }
        }
        cluster
    }

    fn tls(&self) -> PeerTls {
        tls(&self.authority)
    }

    /// The place of the member that leads.
    pub fn leader(&self) -> usize {
        let leads = |store: &Store| store.member().is_some_and(|member| member.status().role == Role::Leader);
        loop {
            if let Some(at) = self.stores.iter().position(leads) {
                return at;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn authority() -> Authority {
    Authority::create("peers", now()).expect("an authority")
}

/// A certificate of a member.
fn tls(authority: &Authority) -> PeerTls {
    let profile = Profile {
        common_name: "member".into(),
        organization: None,
        names: vec![PEER_NAME.into()],
        usage: Usage::Both,
        lifetime_seconds: 86_400,
    };
    let certificate = authority.issue(&profile, now()).expect("a certificate");
    PeerTls::new(&certificate, authority.certificate_pem()).expect("keys")
}

fn open(folder: &Path, peer: &Peer, listen: SocketAddr, tls: PeerTls, join: bool) -> Store {
    let wire = Wire::Tls { listen, tls };
    Store::open_member(folder, RaftOptions::new(peer.clone()), wire, join).expect("a member")
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    i64::try_from(since.as_secs()).expect("a time")
}

fn transaction(pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Transaction {
    let put = |(key, value)| Operation::Put { key, value, lease: 0 };
    Transaction { success: pairs.into_iter().map(put).collect(), ..Transaction::default() }
}

impl AsyncPut for Store {
    async fn put(&self, pair: (Vec<u8>, Vec<u8>)) {
        put(self, vec![pair]).await;
    }
}

async fn put(store: &Store, pairs: Vec<(Vec<u8>, Vec<u8>)>) {
    store.transact(transaction(pairs), Urgency::Now).await.expect("a put");
}

impl AsyncPut for Arc<Client> {
    async fn put(&self, pair: (Vec<u8>, Vec<u8>)) {
        self.propose(&Command::Transaction(transaction(vec![pair]))).await.expect("a put");
    }
}

/// Members in a process of their own, and connections to the leader.
pub struct OverTheWire {
    members: Members,
    clients: Vec<Arc<Client>>,
}

impl OverTheWire {
    pub async fn start(members: usize) -> OverTheWire {
        let authority = authority();
        let members = Members::start(&authority, members);
        let client = |_| Arc::new(Client::new(&members.address, tls(&authority)));
        OverTheWire { clients: (0..CONNECTIONS).map(client).collect(), members }
    }

    pub async fn puts(&self, load: Load) -> Turn {
        load.run(&[self.members.pid()], |client| self.clients[client % self.clients.len()].clone()).await
    }

    /// Resident MiB of all members.
    pub fn memory(&self) -> f64 {
        process::resident(self.members.pid()) as f64 / 1024.0
    }
}

/// Members in this process, and the leader's store.
pub struct InProcess(Cluster);

impl InProcess {
    pub async fn start(members: usize) -> InProcess {
        InProcess(Cluster::start(authority(), members).await)
    }

    pub async fn puts(&self, load: Load) -> Turn {
        let store = &self.0.stores[self.0.leader()];
        load.run(&[], |_| store.clone()).await
    }
}

/// From the end of the leader to the next acknowledged write.
pub async fn failover() {
    let mut times = Vec::new();
    for _ in 0..5 {
        let mut cluster = Cluster::start(authority(), 3).await;
        let leader = cluster.leader();
        let dying = cluster.stores.remove(leader);
        let survivor = cluster.stores[0].clone();
        put(&survivor, vec![pair(0, 0)]).await;
        let begun = Instant::now();
        // It answers nobody once this returns; that it also closes in order is not waited for.
        dying.member().expect("a member").stop().await;
        let closing = std::thread::spawn(move || drop(dying));
        // What the old leader was doing is not known to anybody: a client asks again.
        while survivor.transact(transaction(vec![pair(0, 1)]), Urgency::Now).await.is_err() {}
        times.push(begun.elapsed().as_millis());
        closing.join().expect("the end of a member");
    }
    times.sort_unstable();
    println!(
        "| leader ends, next write acknowledged | median {} ms, most {} ms | 5 times, 3 members |",
        times[2], times[4]
    );
}

/// How long a store with many keys takes to open, and what it weighs.
pub async fn start(keys: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let address = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let tls = tls(&authority());
    let peer = Peer { name: "m".into(), address: address.to_string() };
    let store = open(folder.path(), &peer, address, tls.clone(), false);
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for client in 0..8 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            for batch in 0..keys / BATCH / 8 {
                let pairs = (0..BATCH).map(|number| pair(client, batch * BATCH + number)).collect();
                put(&store, pairs).await;
            }
        }));
    }
    for task in tasks {
        task.await.expect("a writer");
    }
    let filled = begun.elapsed().as_secs_f64();
    let revision = store.state().revision();
    store.command(Command::Compact(Revision(revision.0))).await.expect("a compaction");
    drop(store);
    let begun = Instant::now();
    let store = open(folder.path(), &peer, address, tls.clone(), false);
    store.barrier().await.expect("a read");
    let took = begun.elapsed().as_secs_f64();
    println!("| {keys} keys of 32 + 256 bytes made | {filled:.1} s | {BATCH} per transaction, 8 clients |");
    println!("| start with {keys} keys, to the first read that is sure | {took:.2} s | 1 start |");
    println!(
        "| resident memory after it | {:.0} MiB | this process |",
        process::resident(std::process::id()) as f64 / 1024.0
    );
}

//! Our store: members in this process, asked over their wire or directly.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keelson_store::raft::{Change, Client, Peer, PeerTls, RaftOptions, Role, Wire};
use keelson_store::{Command, Operation, Revision, SingleOptions, Store, Transaction, Urgency};
use pki::{Authority, PEER_NAME, Profile, Usage};

use super::{CONNECTIONS, Load, pair};

/// Writes of one batch where many keys are made.
const BATCH: usize = 100;

struct Cluster {
    authority: Authority,
    stores: Vec<Store>,
    folders: Vec<tempfile::TempDir>,
    addresses: Vec<SocketAddr>,
}

impl Cluster {
    async fn start(members: usize) -> Cluster {
        let authority = Authority::create("peers", now()).expect("an authority");
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
        let profile = Profile {
            common_name: "member".into(),
            organization: None,
            names: vec![PEER_NAME.into()],
            usage: Usage::Both,
            lifetime_seconds: 86_400,
        };
        let certificate = self.authority.issue(&profile, now()).expect("a certificate");
        PeerTls::new(&certificate, self.authority.certificate_pem()).expect("keys")
    }

    fn leader(&self) -> usize {
        let leads = |store: &Store| store.member().is_some_and(|member| member.status().role == Role::Leader);
        loop {
            if let Some(at) = self.stores.iter().position(leads) {
                return at;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
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

/// Runs clients and prints their row.
async fn measure<F, P>(store: &str, members: usize, clients: usize, length: Duration, putter: P)
where
    P: Fn(usize) -> F,
    F: AsyncPut,
{
    let load = Arc::new(Load::of(length));
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (load, put) = (load.clone(), putter(client));
            tokio::spawn(async move {
                let mut times = Vec::new();
                for number in 0.. {
                    if !load.goes_on() {
                        break;
                    }
                    let begun = Instant::now();
                    put.put(transaction(vec![pair(client, number)])).await;
                    times.push(begun.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a client"));
    }
    load.row(store, members, clients, times);
}

/// One client of a store.
trait AsyncPut: Send + Sync + 'static {
    fn put(&self, transaction: Transaction) -> impl Future<Output = ()> + Send;
}

impl AsyncPut for Store {
    async fn put(&self, transaction: Transaction) {
        self.transact(transaction, Urgency::Now).await.expect("a put");
    }
}

impl AsyncPut for Arc<Client> {
    async fn put(&self, transaction: Transaction) {
        self.propose(&Command::Transaction(transaction)).await.expect("a put");
    }
}

pub async fn over_the_wire(members: usize, clients: usize, length: Duration) {
    let cluster = Cluster::start(members).await;
    let address = cluster.addresses[cluster.leader()].to_string();
    let all: Vec<Arc<Client>> =
        (0..CONNECTIONS.min(clients)).map(|_| Arc::new(Client::new(&address, cluster.tls()))).collect();
    measure("ours, wire with TLS", members, clients, length, |client| all[client % all.len()].clone()).await;
}

pub async fn in_process(members: usize, clients: usize, length: Duration) {
    let cluster = Cluster::start(members).await;
    let store = cluster.stores[cluster.leader()].clone();
    measure("ours, in process", members, clients, length, |_| store.clone()).await;
}

pub async fn single(clients: usize, length: Duration) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open_single(folder.path(), SingleOptions::default()).expect("a store");
    measure("ours, single-member log, in process", 1, clients, length, |_| store.clone()).await;
}

/// From the end of the leader to the next acknowledged write.
pub async fn failover() {
    let mut times = Vec::new();
    for _ in 0..5 {
        let mut cluster = Cluster::start(3).await;
        let leader = cluster.leader();
        let dying = cluster.stores.remove(leader);
        let survivor = cluster.stores[0].clone();
        survivor.put(transaction(vec![pair(0, 0)])).await;
        // It answers nobody from here on; that it also closes in order is not waited for.
        let begun = Instant::now();
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
    let cluster = Cluster::start(0).await;
    let peer = Peer { name: "m".into(), address: address.to_string() };
    let store = open(folder.path(), &peer, address, cluster.tls(), false);
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for client in 0..8 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            for batch in 0..keys / BATCH / 8 {
                let pairs = (0..BATCH).map(|number| pair(client, batch * BATCH + number)).collect();
                store.put(transaction(pairs)).await;
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
    let store = open(folder.path(), &peer, address, cluster.tls(), false);
    store.barrier().await.expect("a read");
    let took = begun.elapsed().as_secs_f64();
    println!("| {keys} keys of 32 + 256 bytes made | {filled:.1} s | {BATCH} per transaction, 8 clients |");
    println!("| start with {keys} keys, to the first read that is sure | {took:.2} s | 1 start |");
    println!("| resident memory after it | {:.0} MiB | this process |", resident(std::process::id()));
}

/// Resident MiB of a process.
pub fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

//! The store and Debian's etcd side by side, both with fsync: `cargo bench -p keelson-store --bench store`, on demand.
//!
//! ```text
//! 1 member ─► puts of 1 client, of 100, in turns ─► memory ─► 3 members ─► the same ─► the leader ends ─► 1,000,000 keys ─► start
//! ```
//!
//! What is compared, and what is not alike: etcd is asked over its gRPC without TLS. Ours is asked over the members' wire
//! with TLS ("wire"), its members in one process of their own, and by a caller in the members' process, as our API server
//! does ("in process"). Keys have 32 bytes and values 256, as etcd's own benchmark has by default. All stand at the same
//! time and are measured in turns; figures are medians of the rounds. CPU is the servers', memory is resident after
//! the last round, both over all members.
//!
//! `--only 1,3,failover,start` measures a part. `KEELSON_BENCH_SECONDS` sets how long each turn is,
//! `KEELSON_BENCH_ROUNDS` how many there are, `KEELSON_BENCH_KEYS` how many keys the start has. Nothing is judged here.

mod etcd;
mod member;
mod ours;

use std::time::{Duration, Instant};

use harness::process;

/// How long each turn is.
const TURN: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;
/// How many keys the start has.
const KEYS: usize = 1_000_000;
/// Connections that many clients share.
pub const CONNECTIONS: usize = 10;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let behind = |flag: &str| arguments.windows(2).find(|pair| pair[0] == flag).map(|pair| pair[1].as_str());
    if let Some(folder) = behind(member::FLAG) {
        return member::serve(folder.as_ref());
    }
    let only: Vec<&str> = behind("--only").map(|names| names.split(',').collect()).unwrap_or_default();
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let turn = number("KEELSON_BENCH_SECONDS").map_or(TURN, |seconds| Duration::from_secs(seconds as u64));
    let rounds = number("KEELSON_BENCH_ROUNDS").unwrap_or(ROUNDS).max(1);
    let wanted = |part: &str| only.is_empty() || only.contains(&part);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!("| store | members | clients | puts per second | to etcd | p50 | p99 | CPU per put | memory |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for members in [1, 3] {
        if wanted(&members.to_string()) {
            runtime.block_on(side_by_side(members, turn, rounds));
        }
    }
    println!("\n| figure | value | N and load |\n|---|---|---|");
    if wanted("failover") {
        runtime.block_on(ours::failover());
    }
    if wanted("start") {
        runtime.block_on(ours::start(number("KEELSON_BENCH_KEYS").unwrap_or(KEYS)));
    }
}

async fn side_by_side(members: usize, turn: Duration, rounds: usize) {
    let etcd = match etcd::Cluster::start(members).await {
        Ok(cluster) => Some(cluster),
        Err(error) => {
            println!("| etcd | {members} | | not measured: {error} | | | | | |");
            None
        }
    };
    let wire = ours::OverTheWire::start(members).await;
    let inside = ours::InProcess::start(members).await;
    for clients in [1, 100] {
        let (mut theirs, mut wires, mut insides) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            let load = Load { clients, length: turn, first: round * 10_000_000 };
            if let Some(etcd) = &etcd {
                theirs.push(etcd.puts(load).await);
            }
            wires.push(wire.puts(load).await);
            insides.push(inside.puts(load).await);
        }
        let peer = if theirs.is_empty() { f64::NAN } else { median(&theirs, |turn| turn.rate) };
        let row = |store: &str, turns: &[Turn], memory: Option<f64>| {
            let of = |figure: fn(&Turn) -> f64| median(turns, figure);
            let rate = of(|turn| turn.rate);
            let cpu =
                if memory.is_some() { format!("{:.0} µs", of(|turn| turn.cpu)) } else { String::new() };
            let memory = memory.map(|memory| format!("{memory:.0} MiB")).unwrap_or_default();
            let (p50, p99) = (of(|turn| turn.p50), of(|turn| turn.p99));
            println!(
                "| {store} | {members} | {clients} | {rate:.0} | {:.2} | {p50:.2} ms | {p99:.2} ms | {cpu} | {memory} |",
                rate / peer
            );
        };
        if let Some(etcd) = &etcd {
            row("etcd, gRPC", &theirs, Some(etcd.memory()));
        }
        row("ours, wire with TLS", &wires, Some(wire.memory()));
        // The clients are in there too.
        row("ours, in process", &insides, None);
    }
}

/// Puts of some clients for a while; their keys begin with a number.
#[derive(Clone, Copy)]
pub struct Load {
    pub clients: usize,
    pub length: Duration,
    pub first: usize,
}

/// What became of a load: puts per second, milliseconds at one half and 99 in a hundred, and microseconds of the
/// servers' CPU per put.
pub struct Turn {
    rate: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
}

impl Load {
    /// Runs it; `client` makes what puts.
    pub async fn run<P: AsyncPut>(self, servers: &[u32], client: impl Fn(usize) -> P) -> Turn {
        let cpu = || servers.iter().map(|pid| process::cpu_seconds(*pid)).sum::<f64>();
        let (begun, before) = (Instant::now(), cpu());
        let end = begun + self.length;
        let tasks: Vec<_> = (0..self.clients)
            .map(|at| {
                let client = client(at);
                tokio::spawn(async move {
                    let mut times = Vec::new();
                    for number in self.first.. {
                        let begun = Instant::now();
                        if begun >= end {
                            break;
                        }
                        client.put(pair(at, number)).await;
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
        let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
        let cpu = (cpu() - before) * 1e6 / times.len().max(1) as f64;
        times.sort_unstable();
        let at = |share: f64| {
            let at = (times.len() as f64 * share).ceil() as usize;
            times.get(at.clamp(1, times.len().max(1)) - 1).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
        };
        Turn { rate, p50: at(0.5), p99: at(0.99), cpu }
    }
}

/// One client of a store.
pub trait AsyncPut: Send + Sync + 'static {
    fn put(&self, pair: (Vec<u8>, Vec<u8>)) -> impl Future<Output = ()> + Send;
}

/// A key and a value of a put.
pub fn pair(client: usize, number: usize) -> (Vec<u8>, Vec<u8>) {
    (format!("/registry/bench/{client:04}/{number:010}").into_bytes(), vec![b'v'; 256])
}

fn median(turns: &[Turn], figure: impl Fn(&Turn) -> f64) -> f64 {
    let mut all: Vec<f64> = turns.iter().map(figure).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

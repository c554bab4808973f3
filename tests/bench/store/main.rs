//! The store and Debian's etcd side by side, both with fsync: `cargo bench -p keelson-store --bench store`, on demand.
//!
//! ```text
//! 1 member ─► puts of 1 client, of 100 ─► memory ─► 3 members ─► the same ─► the leader ends ─► 1,000,000 keys ─► start
//! ```
//!
//! What is compared, and what is not alike: etcd is asked over its gRPC without TLS, by processes of its own. Ours is
//! asked over the members' wire with TLS from this process, which also runs the members ("wire"), and by a caller in
//! the member's process, as our API server does ("in process"). Keys have 32 bytes and values 256, as etcd's own
//! benchmark has by default. `KEELSON_BENCH_SECONDS` sets how long each figure is measured, `KEELSON_BENCH_KEYS` how
//! many keys the start has. Nothing is judged here.

mod etcd;
mod ours;

use std::time::{Duration, Instant};

/// How long each load lasts.
const LOAD: Duration = Duration::from_secs(10);
/// How many keys the start has.
const KEYS: usize = 1_000_000;
/// Connections that many clients share.
pub const CONNECTIONS: usize = 10;

fn main() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let load = number("KEELSON_BENCH_SECONDS").map_or(LOAD, |seconds| Duration::from_secs(seconds as u64));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!("| store | members | load | puts per second | p50 | p99 |\n|---|---|---|---|---|---|");
    for members in [1, 3] {
        for clients in [1, 100] {
            runtime.block_on(etcd::puts(members, clients, load));
            runtime.block_on(ours::over_the_wire(members, clients, load));
            runtime.block_on(ours::in_process(members, clients, load));
        }
    }
    for clients in [1, 100] {
        runtime.block_on(ours::single(clients, load));
    }
    println!("\n| figure | value | N and load |\n|---|---|---|");
    runtime.block_on(ours::failover());
    runtime.block_on(ours::start(number("KEELSON_BENCH_KEYS").unwrap_or(KEYS)));
}

/// Times of single puts, from all clients.
pub struct Load {
    begun: Instant,
    end: Instant,
}

impl Load {
    pub fn of(length: Duration) -> Load {
        let begun = Instant::now();
        Load { begun, end: begun + length }
    }

    pub fn goes_on(&self) -> bool {
        Instant::now() < self.end
    }

    /// Prints a row of the table.
    pub fn row(&self, store: &str, members: usize, clients: usize, mut times: Vec<Duration>) {
        let rate = times.len() as f64 / self.begun.elapsed().as_secs_f64();
        times.sort_unstable();
        let at = |share: f64| {
            let at = (times.len() as f64 * share).ceil() as usize;
            times.get(at.clamp(1, times.len().max(1)) - 1).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
        };
        println!(
            "| {store} | {members} | {clients} clients | {rate:.0} | {:.2} ms | {:.2} ms |",
            at(0.5),
            at(0.99)
        );
    }
}

/// A key and a value of a put.
pub fn pair(client: usize, number: usize) -> (Vec<u8>, Vec<u8>) {
    (format!("/registry/bench/{client:04}/{number:010}").into_bytes(), vec![b'v'; 256])
}

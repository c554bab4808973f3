//! The store under faults that a seed decides: real members over a network that loses, delays, doubles and cuts.
//!
//! ```text
//!   seed ─► faults, one after the other    clients ─► history ─► linearizable?
//!                                          watchers ─► every event once, in order, the same on every member?
//! ```
//!
//! The members are the real ones with their real log and state; network, crashes and torn ends of logs are simulated.
//! What a seed decides is every fault and every choice of a client; how threads interleave is the machine's, so a seed
//! replays the story, not each instruction. `KEELSON_SIMULATION_SEED` runs one seed, `KEELSON_SIMULATION_SEEDS` so many
//! random ones, `KEELSON_SIMULATION_SECONDS` sets how long each lasts.
//!
//! Reference: Wing and Gong, Testing and Verifying Concurrent Objects (1993), for `history`.

mod cluster;
mod faults;
mod history;
mod network;
mod random;

use std::sync::Arc;
use std::time::Duration;

use cluster::Cluster;
use faults::Fault;
use history::History;
use random::Random;

/// How long a seed lasts where nothing else is said.
const SECONDS: u64 = 8;
/// Members.
const MEMBERS: usize = 3;
/// Clients, spread over the members.
const CLIENTS: usize = 6;

#[test]
fn histories_are_linearizable_and_watchers_miss_nothing() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let length = Duration::from_secs(number("KEELSON_SIMULATION_SECONDS").unwrap_or(SECONDS));
    let seeds: Vec<u64> = match (number("KEELSON_SIMULATION_SEED"), number("KEELSON_SIMULATION_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, Some(count)) => (0..count).map(|_| random::fresh()).collect(),
        (None, None) => vec![1, random::fresh()],
    };
    for seed in seeds {
        println!("KEELSON_SIMULATION_SEED={seed} KEELSON_SIMULATION_SECONDS={}", length.as_secs());
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(story(seed, length));
    }
}

async fn story(seed: u64, length: Duration) {
    let mut random = Random::new(seed);
    let cluster = Arc::new(Cluster::start(MEMBERS, random.fork()).await);
    let history = Arc::new(History::default());
    let stop = tokio_util::sync::CancellationToken::new();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (cluster, history) = (cluster.clone(), history.clone());
            tokio::spawn(history::client(cluster, history, client, random.fork(), stop.clone()))
        })
        .collect();
    let watchers: Vec<_> = (0..MEMBERS).map(|at| tokio::spawn(cluster::watch(cluster.clone(), at))).collect();

    let end = tokio::time::Instant::now() + length;
    while tokio::time::Instant::now() < end {
        let fault = Fault::choose(&mut random, MEMBERS);
        println!("  {fault:?}");
        fault.inflict(&cluster, &mut random).await;
        cluster.network.heal();
        tokio::time::sleep(Duration::from_millis(200 + random.below(600))).await;
    }
    stop.cancel();
    for client in clients {
        client.await.expect("a client");
    }
    let last = cluster.settle().await;
    println!("  {} operations, revision {last}", history.len());
    history.check();
    let mut told = Vec::new();
    for watcher in watchers {
        told.push(
            tokio::time::timeout(Duration::from_secs(120), watcher)
                .await
                .expect("it catches up")
                .expect("a watcher"),
        );
    }
    for (at, events) in told.iter().enumerate() {
        assert!(
            events.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "member {at}: events out of order or twice"
        );
        assert_eq!(
            events.last().map(|(revision, _)| revision.0),
            Some(last),
            "member {at}: an event is missing"
        );
        assert_eq!(events, &told[0], "member {at} tells another history than member 0");
    }
}

//! The calls of a pod's life, one pod after the other.

use std::time::Instant;

use super::client::OBEDIENT;
use super::figures::{Samples, head};
use super::peers::{Pair, Server};

const CALLS: [&str; 6] = [
    "RunPodSandbox",
    "CreateContainer",
    "StartContainer",
    "StopContainer",
    "StopPodSandbox",
    "RemovePodSandbox",
];
/// The first ones fill caches.
const WARM_UP: usize = 2;

pub async fn measure(pair: &mut Pair, rounds: usize) {
    let mut samples: [Samples; 6] = Default::default();
    for round in 0..rounds + WARM_UP {
        for server in pair.in_turn(round) {
            let life = life(server, &format!("life{round}")).await;
            for (samples, time) in samples.iter_mut().zip(life).filter(|_| round >= WARM_UP) {
                samples.push(server, time);
            }
        }
    }
    head("Calls of a pod with one container, image present, one after the other");
    for (call, samples) in CALLS.iter().zip(&samples) {
        samples.row(call, "ms");
    }
}

async fn life(server: &mut Server, name: &str) -> [f64; 6] {
    let mut times = [0.0; 6];
    let client = &mut server.client;
    let mut clock = Instant::now();
    let mut lap = |call: usize, clock: &mut Instant| {
        times[call] = clock.elapsed().as_secs_f64() * 1e3;
        *clock = Instant::now();
    };
    let mut pod = client.run(name).await;
    lap(0, &mut clock);
    client.create(&mut pod, &["sh", "-c", OBEDIENT]).await;
    lap(1, &mut clock);
    client.start(&pod).await;
    lap(2, &mut clock);
    client.spoken(&pod).await;
    clock = Instant::now();
    client.stop(&pod).await;
    lap(3, &mut clock);
    client.stop_sandbox(&pod).await;
    lap(4, &mut clock);
    client.remove_sandbox(&pod).await;
    lap(5, &mut clock);
    times
}

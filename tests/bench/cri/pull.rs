//! A large image from a registry on loopback: over the wire, unpacked, ready to run.

use std::time::Instant;

use super::figures::{Samples, head};
use super::payload::Images;
use super::peers::Pair;
use super::processes;

const ROUNDS: usize = 3;

pub async fn measure(pair: &mut Pair, images: &Images) {
    let (mut wall, mut cpu) = (Samples::default(), Samples::default());
    for round in 0..ROUNDS {
        for server in pair.in_turn(round) {
            // What the one before has left to write is not this one's.
            rustix::fs::sync();
            let (before, began) = (processes::cpu(server), Instant::now());
            server.client.pull(&images.large).await;
            wall.push(server, began.elapsed().as_secs_f64());
            cpu.push(server, processes::cpu(server) - before);
            server.client.remove_image(&images.large).await;
        }
    }
    head(&format!("PullImage, {}", images.large_description));
    wall.row("wall time", "s");
    cpu.row("CPU of the server", "s");
}

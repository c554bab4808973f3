//! Many pods asked for at once, and what they cost while they run.

use std::time::Instant;

use super::client::Pod;
use super::figures::{Samples, head, megabytes};
use super::peers::{Pair, Server};
use super::processes::{self, Own};

/// Each costs containerd tens of seconds.
const ROUNDS: usize = 1;

pub async fn measure(pair: &mut Pair, pods: usize) {
    let (mut up, mut down, mut cpu) = (Samples::default(), Samples::default(), Samples::default());
    let mut lines = Vec::new();
    for round in 0..ROUNDS {
        for server in pair.in_turn(round) {
            let before = processes::own(server);
            let (cpu_before, began) = (processes::cpu(server), Instant::now());
            let running = bring_up(server, pods, round).await;
            up.push(server, began.elapsed().as_secs_f64());
            for pod in &running {
                server.client.spoken(pod).await;
            }
            let with = processes::own(server);
            processes::quiet().await;
            let later = processes::own(server);
            let began = Instant::now();
            take_down(server, running).await;
            down.push(server, began.elapsed().as_secs_f64());
            cpu.push(server, processes::cpu(server) - cpu_before);
            processes::quiet().await;
            lines.push(memory(server, [before, with, later, processes::own(server)], pods));
        }
    }
    head(&format!("{pods} pods at once"));
    up.row("asked for, to all started", "s");
    down.row("stop and removal, to all gone", "s");
    cpu.row("CPU of the server's processes for both, without plugins and runc", "s");
    println!(
        "\nMemory of a server's own processes, proportional, with {pods} pods; later: after some quiet seconds\n"
    );
    println!(
        "| server | idle before, after | per pod, at once | later | of it keeper or shims | pauses | processes per pod |"
    );
    println!("|---|---|---|---|---|---|---|");
    lines.iter().for_each(|line| println!("{line}"));
}

async fn bring_up(server: &Server, pods: usize, round: usize) -> Vec<Pod> {
    let tasks: Vec<_> = (0..pods)
        .map(|number| {
            let mut client = server.client.clone();
            tokio::spawn(async move { client.bring_up(&format!("many{round}-{number}")).await })
        })
        .collect();
    let mut running = Vec::new();
    for task in tasks {
        running.push(task.await.expect("a pod runs"));
    }
    running
}

async fn take_down(server: &Server, running: Vec<Pod>) {
    let tasks = running.into_iter().map(|pod| {
        let mut client = server.client.clone();
        tokio::spawn(async move { client.take_down(&pod).await })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a pod ends");
    }
}

fn memory(server: &Server, [before, with, later, after]: [Own; 4], pods: usize) -> String {
    let per_pod = |now: u64, then: u64| (now as f64 - then as f64) / pods as f64;
    format!(
        "| {} | {}, {} MB | {:.0} KB | {:.0} KB | {:.0} KB | {:.0} KB | {:.2} |",
        server.name(),
        megabytes(before.kilobytes()),
        megabytes(after.kilobytes()),
        per_pod(with.kilobytes(), before.kilobytes()),
        per_pod(later.kilobytes(), before.kilobytes()),
        per_pod(later.minders, before.minders),
        per_pod(later.pauses, before.pauses),
        (with.processes as f64 - before.processes as f64) / pods as f64,
    )
}

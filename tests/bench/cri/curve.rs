//! Pods of ours one after the other: whether the last one is as cheap as the first.

use std::time::Instant;

use super::figures::median;
use super::peers::Server;
use super::processes;

/// Points of the curve.
const POINTS: usize = 5;

pub async fn measure(server: &mut Server, pods: usize) {
    println!("\n{pods} pods of ours, one after the other\n");
    println!("| pods | started in, median of the last | daemon | keeper | per pod |");
    println!("|---|---|---|---|---|");
    let idle = processes::own(server);
    let mut running = Vec::new();
    let step = (pods / POINTS).max(1);
    while running.len() < pods {
        let mut times = Vec::new();
        for _ in 0..step {
            let began = Instant::now();
            let pod = server.client.bring_up(&format!("curve{}", running.len())).await;
            times.push(began.elapsed().as_secs_f64() * 1e3);
            running.push(pod);
        }
        server.client.spoken(running.last().expect("a pod")).await;
        let now = processes::own(server);
        println!(
            "| {} | {:.1} ms ({step}) | {:.1} MB | {:.2} MB | {:.0} KB |",
            running.len(),
            median(&times),
            now.daemon as f64 / 1024.0,
            now.minders as f64 / 1024.0,
            (now.kilobytes() as f64 - idle.kilobytes() as f64) / running.len() as f64,
        );
    }
    processes::quiet().await;
    let now = processes::own(server);
    println!(
        "| {} quiet | | {:.1} MB | {:.2} MB | {:.0} KB |",
        running.len(),
        now.daemon as f64 / 1024.0,
        now.minders as f64 / 1024.0,
        (now.kilobytes() as f64 - idle.kilobytes() as f64) / running.len() as f64,
    );
    let began = Instant::now();
    for pod in &running {
        server.client.take_down(pod).await;
    }
    let each = began.elapsed().as_secs_f64() * 1e3 / running.len() as f64;
    let after = processes::own(server);
    println!(
        "| stopped and removed | {each:.1} ms (mean) | {:.1} MB | {:.2} MB | |",
        after.daemon as f64 / 1024.0,
        after.minders as f64 / 1024.0
    );
}

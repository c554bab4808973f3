//! How long the calls of a pod's life take: medians over twenty pods with a network of their own.
//!
//! Printed, not judged: the host's load decides. Run with --release for figures worth telling.

use std::time::{Duration, Instant};

use cri_api::v1::{RemovePodSandboxRequest, StopPodSandboxRequest};

use super::cri_node::{Client, stage, write_network};

const PODS: usize = 20;
const CALLS: [&str; 6] = [
    "RunPodSandbox",
    "CreateContainer",
    "StartContainer",
    "StopContainer",
    "StopPodSandbox",
    "RemovePodSandbox",
];

#[test]
fn twenty_pods_one_after_the_other() {
    stage("twenty_pods_one_after_the_other", async |_, mut client| {
        write_network(&mut client, "10.213.8.0/24").await;
        let mut taken: [Vec<Duration>; 6] = Default::default();
        for number in 0..PODS {
            for (call, time) in one_life(&mut client, number).await.into_iter().enumerate() {
                taken[call].push(time);
            }
        }
        for (call, mut times) in CALLS.iter().zip(taken) {
            times.sort();
            let (median, worst) = (times[PODS / 2], times[PODS - 1]);
            println!(
                "{call:<18} median {:>6.1} ms, worst {:>6.1} ms, N {PODS}",
                millis(median),
                millis(worst)
            );
        }
    });
}

async fn one_life(client: &mut Client, number: usize) -> [Duration; 6] {
    let mut times = [Duration::ZERO; 6];
    let pod = client.pod(&format!("pod{number}"));
    let mut clock = Instant::now();
    let mut lap = |call: usize| {
        times[call] = clock.elapsed();
        clock = Instant::now();
    };
    let sandbox = client.run(&pod).await.expect("a sandbox");
    lap(0);
    let config = client.container("c", "trap 'exit 0' TERM; sleep 600 & wait");
    let container = client.create(&sandbox, &pod, config).await.expect("created");
    lap(1);
    client.start(&container).await.expect("started");
    lap(2);
    client.stop(&container, 0).await.expect("stopped");
    lap(3);
    let stop = StopPodSandboxRequest { pod_sandbox_id: sandbox.clone() };
    client.runtime.stop_pod_sandbox(stop).await.expect("stopped");
    lap(4);
    let remove = RemovePodSandboxRequest { pod_sandbox_id: sandbox };
    client.runtime.remove_pod_sandbox(remove).await.expect("removed");
    lap(5);
    times
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

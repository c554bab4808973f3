//! What the CNI step costs: the plugin as a runtime executes it, from its start to its end.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use harness::netns::TestHost;
use serde_json::json;

use super::{KEELSON, row};

const PODS: usize = 50;

/// ADD of so many pods, one after the other, on a machine of its own.
pub fn measure() {
    let guard = harness::host::exclusive("bench cni");
    let state = harness::tempdir().expect("a folder");
    let host = TestHost::create(guard.tag(), "host");
    let config = json!({"cniVersion": "1.1.0", "name": "bench", "type": "keelson-cni", "mode": "plain",
        "ipam": {"ranges": [[{"subnet": "10.244.0.0/22"}]], "dataDir": state.path()}});
    let pods: Vec<TestHost> =
        (0..PODS).map(|number| TestHost::create(guard.tag(), &format!("p{number}"))).collect();
    let mut times: Vec<f64> = pods
        .iter()
        .enumerate()
        .map(|(number, pod)| {
            // A shell of the namespace is not what is measured: the plugin is started from within.
            host.inside(|| {
                let mut command = Command::new(KEELSON);
                command
                    .env("CNI_COMMAND", "ADD")
                    .env("CNI_CONTAINERID", format!("c{number}"))
                    .env("CNI_NETNS", pod.path())
                    .env("CNI_IFNAME", "eth0")
                    .env("CNI_PATH", "/nowhere")
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped());
                let began = Instant::now();
                let mut plugin = command.spawn().expect("the plugin runs");
                let mut input = plugin.stdin.take().expect("its input");
                input.write_all(config.to_string().as_bytes()).expect("the configuration");
                drop(input);
                let output = plugin.wait_with_output().expect("it ends");
                let taken = began.elapsed().as_secs_f64() * 1000.0;
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
                taken
            })
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (median, worst) = (times[PODS / 2], times[PODS - 1]);
    row(
        "CNI ADD, from the plugin's start to its end",
        &format!("p50 {median:.1} ms, worst {worst:.1} ms"),
        &format!("{PODS} pods, one after the other, mode plain"),
    );
    drop((pods, host));
    guard.finish();
}

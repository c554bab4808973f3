//! Honest workloads: Debian's nginx as a deployment, and the same kubelet on Debian's containerd.

use harness::node::{Runtime, stage, stage_on};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");

#[test]
fn nginx_serves_and_heals() {
    const TEST: &str = "nginx_serves_and_heals";
    let Some(image) = harness::image::nginx() else { return harness::skip(TEST, "nginx is not installed") };
    stage(TEST, KEELSON, |node| {
        let image = node.registry.push("nginx", "1", &image.build());
        node.kubectl(&format!("create deployment web --image={image} --replicas=4 --port=8080"));
        node.kubectl("rollout status deployment/web --timeout=100s");
        assert!(node.kubectl("get deployment web").contains("4/4"), "{}", node.kubectl("get deployment web"));
        for pod in node.pods() {
            let address = text(&pod["status"]["podIP"]);
            let answer = get(&address);
            let name = text(&pod["metadata"]["name"]);
            assert!(answer.contains(&format!("nginx on {name}")), "{answer}");
        }

        let gone = text(&node.pods()[0]["metadata"]["name"]);
        node.kubectl(&format!("delete pod {gone} --wait=true --timeout=60s"));
        node.kubectl("rollout status deployment/web --timeout=100s");
        assert!(node.pods().iter().all(|pod| pod["metadata"]["name"] != gone.as_str()));

        let pod = node.pods().remove(0);
        let name = text(&pod["metadata"]["name"]);
        let restarts = |status: &Value| status["containerStatuses"][0]["restartCount"].as_i64();
        let uid = text(&pod["metadata"]["uid"]);
        let mut found = None;
        node.until(&format!("nginx runs in the pod {uid}"), |_| {
            found = master(&uid);
            found.is_some()
        });
        kill_process(found.expect("a PID"), Signal::KILL).expect("it is killed");
        let status = node.until_pod(&name, "is restarted", |status| {
            restarts(status) == Some(1) && status["containerStatuses"][0]["ready"] == true
        });
        let last = &status["containerStatuses"][0]["lastState"]["terminated"];
        assert_eq!((&last["exitCode"], &last["reason"]), (&json!(137), &json!("Error")), "{last}");
        assert!(get(&text(&status["podIP"])).contains(&name));
        let log = node.kubectl(&format!("logs {name}"));
        assert!(log.contains("GET / HTTP/1.0"), "{log}");
        node.kubectl("delete deployment web");
    });
}

#[test]
fn containerd_runs_our_pods() {
    const TEST: &str = "containerd_runs_our_pods";
    stage_on(TEST, KEELSON, Runtime::Containerd, |node| {
        for number in 0..3 {
            node.pod(&format!("pod-{number}"), json!({
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "c",
                    "image": node.image,
                    "command": ["/bin/sh", "-c", "echo started; trap 'exit 0' TERM; while true; do sleep 0.1; done"],
                }],
            }));
        }
        for number in 0..3 {
            let name = format!("pod-{number}");
            let status = node.until_pod(&name, "runs", |status| harness::node::is_true(status, "Ready"));
            let id = text(&status["containerStatuses"][0]["containerID"]);
            assert!(id.starts_with("containerd://"), "{id}");
            node.until("its log is read", |node| node.kubectl(&format!("logs {name}")) == "started\n");
        }
        let said = node.kubectl("exec pod-0 -- echo hello");
        assert_eq!(said, "hello\n");
        let version = node.admin.get(&format!("/api/v1/nodes/{}", harness::node::NODE)).expect(200);
        let version = text(&version["status"]["nodeInfo"]["containerRuntimeVersion"]);
        assert!(version.starts_with("containerd://"), "{version}");
        node.kubectl("delete pods --all --wait=true --timeout=60s");
        assert!(node.pods().is_empty());
    });
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// One request to a pod, from the host.
fn get(address: &str) -> String {
    use std::io::{Read as _, Write as _};
    let begun = std::time::Instant::now();
    let mut stream = loop {
        // A process that runs does not listen yet.
        match std::net::TcpStream::connect((address, 8080)) {
            Ok(stream) => break stream,
            Err(error) => assert!(begun.elapsed() < harness::node::PATIENCE, "nginx accepts: {error}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// nginx's first process in a pod, by the pod's cgroup.
fn master(uid: &str) -> Option<Pid> {
    std::fs::read_dir("/proc").expect("/proc").flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let command = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let cgroup = std::fs::read_to_string(entry.path().join("cgroup")).ok()?;
        (command.starts_with("nginx: master process") && cgroup.contains(uid)).then_some(Pid::from_raw(pid)?)
    })
}

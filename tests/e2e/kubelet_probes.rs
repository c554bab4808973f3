//! Probes on a node with every part real: what they say, when they say it, and what comes of it.

use std::time::{Duration, Instant};

use harness::node::{Node, Part, is_true, stage};
use serde_json::{Value, json};

const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");

/// A pod of one container with a web server on 8080; `more` joins the container.
fn run(node: &Node, name: &str, script: &str, more: Value) {
    let script = format!("mkdir -p /www; {script}; exec busybox httpd -f -p 8080 -h /www");
    let mut container = json!({
        "name": "c", "image": node.image, "command": ["/bin/sh", "-c", script],
        "ports": [{"name": "web", "containerPort": 8080}],
    });
    container.as_object_mut().expect("a map").extend(more.as_object().cloned().unwrap_or_default());
    node.pod(name, json!({"containers": [container], "terminationGracePeriodSeconds": 1}));
}

fn events(node: &Node, pod: &str) -> Vec<(String, String)> {
    let list = node.admin.get("/api/v1/namespaces/default/events").expect(200);
    let of_pod = |event: &&Value| event["involvedObject"]["name"] == pod;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let events = list["items"].as_array().into_iter().flatten().filter(of_pod);
    events.map(|event| (text(&event["reason"]), text(&event["message"]))).collect()
}

fn until_told(node: &mut Node, pod: &str, reason: &str, part: &str) {
    node.until(&format!("{pod}: {reason} {part}"), |node| {
        events(node, pod).iter().any(|(known, message)| known == reason && message.contains(part))
    });
}

fn restarts(status: &Value) -> i64 {
    status["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(-1)
}

#[test]
fn readiness_follows_what_the_container_answers() {
    stage("readiness_follows_what_the_container_answers", KEELSON, |node| {
        let http = json!({"httpGet": {"path": "/ready", "port": "web"}, "periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 1});
        run(node, "web", "true", json!({"readinessProbe": http}));
        until_told(
            node,
            "web",
            "Unhealthy",
            "Readiness probe failed: HTTP probe failed with statuscode: 404",
        );
        let status = node.until_pod("web", "it runs", |status| status["phase"] == "Running");
        assert!(!is_true(&status, "Ready") && !is_true(&status, "ContainersReady"), "{status}");
        node.kubectl("exec web -- touch /www/ready");
        node.until_pod("web", "it is ready", |status| is_true(status, "Ready"));
        // A kubelet that comes back does not take a pod out of service that answers.
        node.kill(Part::Kubelet);
        node.start(Part::Kubelet);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(4) {
            let status = node.get("web")["status"].clone();
            assert!(is_true(&status, "Ready"), "{status}");
            std::thread::sleep(Duration::from_millis(100));
        }
        node.kubectl("exec web -- rm /www/ready");
        let status = node.until_pod("web", "it is not ready", |status| !is_true(status, "Ready"));
        assert_eq!(restarts(&status), 0, "readiness kills nobody");
    });
}

#[test]
fn liveness_restarts_and_startup_goes_first() {
    stage("liveness_restarts_and_startup_goes_first", KEELSON, |node| {
        let alive = json!({"exec": {"command": ["cat", "/www/alive"]}, "periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 2});
        run(node, "mortal", "touch /www/alive", json!({"livenessProbe": alive}));
        let tcp = |port: u16, failures: u32| json!({"tcpSocket": {"port": port}, "periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": failures});
        // Its liveness would fail at once: it is not asked before the startup probe has succeeded.
        let slow = json!({"startupProbe": tcp(8080, 30), "livenessProbe": tcp(8080, 1), "readinessProbe": tcp(8080, 1)});
        run(node, "slow", "sleep 4", slow);
        run(node, "never", "true", json!({"startupProbe": tcp(9, 2)}));

        node.until_pod("mortal", "it is ready", |status| is_true(status, "Ready"));
        node.kubectl("exec mortal -- rm /www/alive");
        until_told(
            node,
            "mortal",
            "Unhealthy",
            "Liveness probe failed: cat: can't open '/www/alive': No such file or directory",
        );
        until_told(node, "mortal", "Killing", "Container c failed liveness probe, will be restarted");
        node.until_pod("mortal", "it was restarted", |status| {
            restarts(status) == 1 && is_true(status, "Ready")
        });

        let status = node.until_pod("slow", "it is ready", |status| is_true(status, "Ready"));
        assert_eq!((restarts(&status), &status["containerStatuses"][0]["started"]), (0, &json!(true)));
        let told = events(node, "slow");
        assert!(told.iter().all(|(_, message)| !message.starts_with("Liveness")), "{told:?}");

        until_told(node, "never", "Unhealthy", "Startup probe failed: dial tcp ");
        until_told(node, "never", "Killing", "Container c failed startup probe, will be restarted");
        let status = node.until_pod("never", "it was restarted", |status| restarts(status) >= 1);
        assert!(!is_true(&status, "Ready"), "{status}");
    });
}

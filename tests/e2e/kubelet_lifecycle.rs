//! A pod's way on a real node: sidecars, probes, hooks, the node's network, and pods that the node refuses.

use harness::node::{NODE, Node, is_true, stage};
use serde_json::{Value, json};

use crate::kubelet_pods::first_processes;

const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");
const SLEEPER: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

fn container(node: &Node, name: &str, script: &str) -> Value {
    json!({"name": name, "image": node.image, "command": ["sh", "-c", script]})
}

fn with(mut container: Value, field: &str, value: Value) -> Value {
    container[field] = value;
    container
}

fn script(text: &str) -> Value {
    json!({"exec": {"command": ["sh", "-c", text]}})
}

/// Waits for an event about a pod; its message.
fn told(node: &mut Node, pod: &str, reason: &str) -> String {
    let path = format!("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name={pod}");
    let mut message = String::new();
    node.until(&format!("{pod} has the event {reason}"), |node| {
        let list = node.admin.get(&path).expect(200);
        let mut items = list["items"].as_array().into_iter().flatten();
        let found = items.find(|event| event["reason"] == reason);
        message = found.and_then(|event| event["message"].as_str()).unwrap_or_default().to_owned();
        found.is_some()
    });
    message
}

#[test]
fn sidecars_probes_and_hooks() {
    stage("sidecars_probes_and_hooks", KEELSON, |node| {
        let side = with(container(node, "side", SLEEPER), "restartPolicy", json!("Always"));
        node.pod(
            "sided",
            json!({
                "restartPolicy": "Never", "terminationGracePeriodSeconds": 5,
                "initContainers": [side], "containers": [container(node, "c", "sleep 1")],
            }),
        );
        let sick = with(
            container(node, "c", SLEEPER),
            "livenessProbe",
            json!({
                "exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1,
            }),
        );
        node.pod("sick", json!({"terminationGracePeriodSeconds": 2, "containers": [sick]}));
        let slow = with(
            container(node, "c", SLEEPER),
            "readinessProbe",
            json!({
                "exec": {"command": ["test", "-e", "/ready"]}, "periodSeconds": 1, "timeoutSeconds": 10,
            }),
        );
        node.pod("slow", json!({"terminationGracePeriodSeconds": 2, "containers": [slow]}));
        let broken = with(container(node, "c", SLEEPER), "lifecycle", json!({"postStart": script("exit 1")}));
        node.pod("broken", json!({"terminationGracePeriodSeconds": 2, "containers": [broken]}));
        let host = json!({"hostNetwork": true, "terminationGracePeriodSeconds": 2, "containers": [container(node, "c", SLEEPER)]});
        node.pod("host", host);

        let status = node.until_pod("slow", "runs", |status| status["phase"] == "Running");
        assert!(!is_true(&status, "Ready"), "{status:#}");
        node.kubectl("exec slow -- touch /ready");
        let sided = node.until_pod("sided", "succeeds", |status| status["phase"] == "Succeeded");
        assert!(sided["initContainerStatuses"][0]["state"]["terminated"].is_object(), "{sided:#}");
        node.until_pod("sick", "is restarted", |status| {
            status["containerStatuses"][0]["restartCount"].as_i64().is_some_and(|count| count >= 1)
        });
        assert!(told(node, "sick", "Unhealthy").starts_with("Liveness probe failed"));
        assert_eq!(told(node, "sick", "Killing"), "Container c failed liveness probe, will be restarted");
        node.until_pod("slow", "is ready", |status| is_true(status, "Ready"));
        told(node, "broken", "FailedPostStartHook");
        let host = node.until_pod("host", "is ready", |status| is_true(status, "Ready"));
        assert_eq!(host["podIP"], host["hostIP"]);
        assert_eq!(host["containerStatuses"][0]["restartCount"], 0);
    });
}

/// CPU shares (or weight) and memory limit of a pod's own cgroup.
fn pod_cgroup(node: &Node, name: &str) -> Vec<String> {
    let uid = node.get(name)["metadata"]["uid"].as_str().expect("a UID").to_owned();
    let own = format!("pod{uid}");
    let mut memberships = Vec::new();
    // Others of the pod may be ending: in hierarchies of version 1 those are in the root.
    for (pid, _) in first_processes(node) {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        if text.contains(&own) {
            memberships = text.lines().map(str::to_owned).collect();
        }
    }
    let value = |controller: &str, files: [&str; 2]| -> String {
        let fits = |line: &&String| {
            line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == controller))
        };
        let line = memberships.iter().find(fits).or(memberships.last()).expect("a cgroup");
        let path = line.splitn(3, ':').nth(2).expect("a path");
        let path = &path[..path.find(&own).expect("the pod's") + own.len()];
        let roots = [format!("/sys/fs/cgroup/{controller}"), "/sys/fs/cgroup".to_owned()];
        let places =
            roots.iter().flat_map(|root| files.iter().map(move |file| format!("{root}{path}/{file}")));
        let text = places.into_iter().find_map(|place| std::fs::read_to_string(place).ok());
        text.unwrap_or_default().trim().to_owned()
    };
    vec![value("cpu", ["cpu.shares", "cpu.weight"]), value("memory", ["memory.limit_in_bytes", "memory.max"])]
}

#[test]
fn what_does_not_fit_is_refused() {
    stage("what_does_not_fit_is_refused", KEELSON, |node| {
        let large = with(container(node, "c", SLEEPER), "resources", json!({"requests": {"cpu": "1000"}}));
        node.pod("large", json!({"nodeName": NODE, "containers": [large]}));
        let picky = json!({"nodeName": NODE, "nodeSelector": {"disk": "ssd"}, "containers": [container(node, "c", SLEEPER)]});
        node.pod("picky", picky);
        for (name, reason) in [("large", "OutOfcpu"), ("picky", "NodeAffinity")] {
            let status = node.until_pod(name, "fails", |status| status["phase"] == "Failed");
            assert_eq!(status["reason"], reason, "{status:#}");
            let message = told(node, name, reason);
            assert_eq!(status["message"], format!("Pod was rejected: {message}"));
        }
        let resources = json!({"requests": {"cpu": "250m"}, "limits": {"memory": "64Mi"}});
        let weighed = with(container(node, "c", SLEEPER), "resources", resources);
        node.pod("weighed", json!({"terminationGracePeriodSeconds": 1, "containers": [weighed]}));
        node.until_pod("weighed", "is ready", |status| is_true(status, "Ready"));
        let values = pod_cgroup(node, "weighed");
        assert!(values == ["256", "67108864"] || values == ["10", "67108864"], "{values:?}");
        // A volume that is not there holds a pod up, and lets it go when it comes.
        let waits =
            with(container(node, "c", SLEEPER), "volumeMounts", json!([{"name": "v", "mountPath": "/v"}]));
        node.pod(
            "waits",
            json!({
                "terminationGracePeriodSeconds": 1, "containers": [waits],
                "volumes": [{"name": "v", "configMap": {"name": "later"}}],
            }),
        );
        assert!(told(node, "waits", "FailedMount").contains("later"));
        node.until_pod("waits", "waits for it", |status| {
            status["containerStatuses"][0]["state"]["waiting"]["reason"] == "ContainerCreating"
        });
        let map = json!({"metadata": {"name": "later"}, "data": {"a": "b"}});
        let _made = node.admin.post("/api/v1/namespaces/default/configmaps", &map).expect(201);
        node.until_pod("waits", "is ready", |status| is_true(status, "Ready"));
    });
}

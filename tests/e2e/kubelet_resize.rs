//! Pods that are resized in place: cgroups change under a container that runs on, or it starts anew where it asks for
//! that; what there is no room for waits, or is refused.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use harness::node::{NODE, Node, Part, is_true, stage};
use serde_json::{Value, json};

const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");
const SLEEPER: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

/// CPU in thousandths and memory in MiB, requests and limits alike.
fn sized(cpu: i64, memory: i64) -> Value {
    let amounts = json!({"cpu": format!("{cpu}m"), "memory": format!("{memory}Mi")});
    json!({"requests": amounts, "limits": amounts})
}

fn container(node: &Node, resources: Value) -> Value {
    json!({"name": "c", "image": node.image, "command": ["sh", "-c", SLEEPER], "resources": resources})
}

fn pod(node: &mut Node, name: &str, containers: Value) {
    node.pod(name, json!({"terminationGracePeriodSeconds": 1, "containers": containers}));
    node.until_pod(name, "is ready", |status| is_true(status, "Ready"));
}

/// `kubectl patch --subresource resize`, as users do it.
fn resize(node: &Node, name: &str, resources: &Value) {
    let patch = json!({"spec": {"containers": [{"name": "c", "resources": resources}]}}).to_string();
    let arguments = ["patch", "pod", name, "--subresource", "resize", "--patch", patch.as_str()];
    let output = node.kubectl_output(&arguments);
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.trim(), format!("pod/{name} patched"), "{error}");
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == kind)
}

/// Neither waits nor is under way, and the container has this.
fn has(status: &Value, resources: &Value) -> bool {
    let own = &status["containerStatuses"][0];
    condition(status, "PodResizePending").is_none()
        && condition(status, "PodResizeInProgress").is_none()
        && own["resources"] == *resources
        && own["allocatedResources"] == resources["requests"]
}

/// Values of limits in the cgroups of a pod and of its container, in every hierarchy: CPU quota and bytes.
fn limits(node: &Node, name: &str) -> BTreeSet<String> {
    let uid = node.get(name)["metadata"]["uid"].as_str().expect("a UID").to_owned();
    let mut values = BTreeSet::new();
    let own = format!("pod{uid}");
    collect(Path::new("/sys/fs/cgroup"), &own, false, &mut values);
    values
}

fn collect(folder: &Path, own: &str, inside: bool, values: &mut BTreeSet<String>) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    for below in folders {
        let inside = inside || below.file_name().is_some_and(|known| known == own);
        for file in ["cpu.cfs_quota_us", "cpu.max", "memory.limit_in_bytes", "memory.max"] {
            let Ok(text) = std::fs::read_to_string(below.join(file)) else { continue };
            let value = text.split_whitespace().next().unwrap_or_default();
            // Empty hierarchies of a hybrid host bound nothing.
            if inside && !matches!(value, "-1" | "max" | "9223372036854771712") {
                values.insert(value.to_owned());
            }
        }
        collect(&below, own, inside, values);
    }
}

fn expected(cpu: i64, memory: i64) -> BTreeSet<String> {
    BTreeSet::from([(cpu * 100).to_string(), (memory << 20).to_string()])
}

/// Messages of a pod's events of a kind.
fn told(node: &Node, name: &str, reason: &str) -> Vec<String> {
    let path =
        format!("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name={name},reason={reason}");
    let list = node.admin.get(&path).expect(200);
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.iter().filter_map(|event| event["message"].as_str()).map(str::to_owned).collect()
}

fn until_told(node: &mut Node, name: &str, reason: &str, words: &str) {
    node.until(&format!("{name} has the event {reason} with {words:?}"), |node| {
        told(node, name, reason).iter().any(|message| message.contains(words))
    });
}

#[test]
fn a_pod_is_resized_without_a_restart() {
    stage("a_pod_is_resized_without_a_restart", KEELSON, |node| {
        let containers = json!([container(node, sized(200, 64))]);
        pod(node, "grows", containers);
        assert_eq!(limits(node, "grows"), expected(200, 64));
        let before = node.get("grows");
        let first = before["status"]["containerStatuses"][0].clone();
        assert!(has(&before["status"], &sized(200, 64)), "{:#}", before["status"]);
        resize(node, "grows", &sized(300, 96));
        let status = node.until_pod("grows", "has more", |status| has(status, &sized(300, 96)));
        assert_eq!(limits(node, "grows"), expected(300, 96));
        let now = &status["containerStatuses"][0];
        assert_eq!((&now["containerID"], &now["restartCount"]), (&first["containerID"], &json!(0)));
        let generation = node.get("grows")["metadata"]["generation"].clone();
        assert_eq!(status["observedGeneration"], generation, "{status:#}");
        let shown = format!(
            "{{\"containers\":[{{\"name\":\"c\",\"resources\":{{\"limits\":{{\"cpu\":\"300m\",\"memory\":\"96Mi\"}},\
             \"requests\":{{\"cpu\":\"300m\",\"memory\":\"96Mi\"}}}}}}],\"generation\":{generation}}}"
        );
        until_told(node, "grows", "ResizeStarted", &format!("Pod resize started: {shown}"));
        until_told(node, "grows", "ResizeCompleted", &format!("Pod resize completed: {shown}"));
        // Less, down to what is used and no further.
        resize(node, "grows", &sized(100, 32));
        node.until_pod("grows", "has less", |status| has(status, &sized(100, 32)));
        assert_eq!(limits(node, "grows"), expected(100, 32));
        resize(
            node,
            "grows",
            &json!({"requests": {"cpu": "100m", "memory": "4Ki"}, "limits": {"cpu": "100m", "memory": "4Ki"}}),
        );
        let status = node.until_pod("grows", "cannot have so little", |status| {
            condition(status, "PodResizeInProgress").is_some_and(|condition| condition["reason"] == "Error")
        });
        let why = condition(&status, "PodResizeInProgress").expect("it is there")["message"].clone();
        let why = why.as_str().expect("a message");
        assert!(why.starts_with("attempting to set pod memory limit (4096) below current usage ("), "{why}");
        assert_eq!(limits(node, "grows"), expected(100, 32), "nothing has changed");
        until_told(node, "grows", "ResizeError", why);
        // Asked for again, it is given, also by a kubelet that was not there.
        node.kill(Part::Kubelet);
        resize(node, "grows", &sized(150, 48));
        node.start(Part::Kubelet);
        let status = node.until_pod("grows", "has what is asked for", |status| has(status, &sized(150, 48)));
        assert_eq!(limits(node, "grows"), expected(150, 48));
        assert_eq!(status["containerStatuses"][0]["containerID"], first["containerID"]);
    });
}

#[test]
fn a_policy_asks_for_a_restart() {
    stage("a_policy_asks_for_a_restart", KEELSON, |node| {
        let mut restarts = container(node, sized(200, 64));
        restarts["resizePolicy"] = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
        pod(node, "restarts", json!([restarts]));
        let first = node.get("restarts")["status"]["containerStatuses"][0]["containerID"].clone();
        resize(node, "restarts", &sized(300, 64));
        let status = node.until_pod("restarts", "has more CPU", |status| has(status, &sized(300, 64)));
        assert_eq!(status["containerStatuses"][0]["containerID"], first, "CPU asks for none");
        resize(node, "restarts", &sized(300, 96));
        let status = node.until_pod("restarts", "runs anew", |status| {
            has(status, &sized(300, 96))
                && is_true(status, "Ready")
                && status["containerStatuses"][0]["restartCount"] == 1
        });
        assert_ne!(status["containerStatuses"][0]["containerID"], first);
        assert_eq!(limits(node, "restarts"), expected(300, 96));
        until_told(node, "restarts", "Killing", "Container c resize requires restart");
        // A pod as a whole, whose container has no limits of its own.
        let mut bare = container(node, json!({}));
        bare["resources"] = Value::Null;
        let spec =
            json!({"terminationGracePeriodSeconds": 1, "resources": sized(200, 64), "containers": [bare]});
        node.pod("whole", spec);
        node.until_pod("whole", "is ready", |status| is_true(status, "Ready"));
        assert_eq!(limits(node, "whole"), expected(200, 64));
        let patch = json!({"spec": {"resources": sized(300, 96)}}).to_string();
        let output =
            node.kubectl_output(&["patch", "pod", "whole", "--subresource", "resize", "--patch", &patch]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let status = node.until_pod("whole", "has more", |status| {
            condition(status, "PodResizeInProgress").is_none() && status["resources"] == sized(300, 96)
        });
        assert_eq!(status["allocatedResources"], sized(300, 96)["requests"]);
        assert_eq!(status["containerStatuses"][0]["restartCount"], 0);
        node.until("its cgroups have it", |node| limits(node, "whole") == expected(300, 96));
    });
}

#[test]
fn a_resize_waits_for_room() {
    stage("a_resize_waits_for_room", KEELSON, |node| {
        let status = node.admin.get(&format!("/api/v1/nodes/{NODE}")).expect(200)["status"].clone();
        let cpus = status["allocatable"]["cpu"].as_str().expect("CPUs").to_owned();
        let millis = match cpus.strip_suffix('m') {
            Some(millis) => millis.parse::<i64>().expect("a number"),
            None => cpus.parse::<i64>().expect("a number") * 1000,
        };
        for name in ["waits", "other"] {
            let containers = json!([container(node, sized(200, 32))]);
            pod(node, name, containers);
        }
        resize(node, "waits", &sized(millis + 1, 32));
        let status =
            node.until_pod("waits", "is refused", |status| condition(status, "PodResizePending").is_some());
        let pending = condition(&status, "PodResizePending").expect("it is there");
        let why =
            format!("Node didn't have enough capacity: cpu, requested: {}, capacity: {millis}", millis + 1);
        assert_eq!((&pending["reason"], &pending["message"]), (&json!("Infeasible"), &json!(why)));
        assert_eq!(
            (&pending["status"], &pending["observedGeneration"]),
            (&json!("True"), &node.get("waits")["metadata"]["generation"])
        );
        until_told(node, "waits", "ResizeInfeasible", "Pod resize Infeasible: {");
        assert_eq!(limits(node, "waits"), expected(200, 32));
        // Room that another pod has.
        resize(node, "waits", &sized(millis - 100, 32));
        let status = node.until_pod("waits", "is deferred", |status| {
            condition(status, "PodResizePending").is_some_and(|pending| pending["reason"] == "Deferred")
        });
        assert_eq!(status["containerStatuses"][0]["allocatedResources"]["cpu"], "200m");
        until_told(node, "waits", "ResizeDeferred", "Node didn't have enough resource: cpu");
        resize(node, "other", &sized(100, 32));
        node.until_pod("waits", "has its room", |status| has(status, &sized(millis - 100, 32)));
        assert_eq!(limits(node, "waits"), expected(millis - 100, 32));
        limits_of_the_namespace(node, millis);
    });
}

/// What a namespace may have is asked before the node is.
fn limits_of_the_namespace(node: &mut Node, millis: i64) {
    let refused = |node: &Node, resources: &Value| {
        let patch = json!({"spec": {"containers": [{"name": "c", "resources": resources}]}}).to_string();
        let arguments = ["patch", "pod", "other", "--subresource", "resize", "--patch", patch.as_str()];
        let output = node.kubectl_output(&arguments);
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let most = json!({"type": "Container", "max": {"memory": "100Mi"}});
    let range = json!({"metadata": {"name": "range"}, "spec": {"limits": [most]}});
    let _made = node.admin.post("/api/v1/namespaces/default/limitranges", &range).expect(201);
    let why = "maximum memory usage per Container is 100Mi, but limit is 128Mi";
    node.until("the range is in force", |node| refused(node, &sized(100, 128)).contains(why));
    let hard = json!({"requests.cpu": format!("{}m", millis + 50)});
    let quota = json!({"metadata": {"name": "quota"}, "spec": {"hard": hard}});
    let _made = node.admin.post("/api/v1/namespaces/default/resourcequotas", &quota).expect(201);
    let used = |node: &Node| {
        let quota = node.admin.get("/api/v1/namespaces/default/resourcequotas/quota").expect(200);
        quota["status"]["used"]["requests.cpu"].clone()
    };
    let all = if millis % 1000 == 0 { (millis / 1000).to_string() } else { format!("{millis}m") };
    node.until("the quota is counted", |node| used(node) == all.as_str());
    let why = refused(node, &sized(200, 32));
    assert!(
        why.contains("exceeded quota: quota, requested: requests.cpu=100m, used: requests.cpu="),
        "{why}"
    );
    // Less is given back once the node has taken it.
    resize(node, "other", &sized(50, 32));
    node.until("the quota has what was given back", |node| {
        used(node) == format!("{}m", millis - 50).as_str()
    });
}

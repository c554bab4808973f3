//! `keelson scheduler` beside `keelson apiserver`: pods get nodes, or are told why not, and get one when that changes.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::api::{Client, Server, Watch};
use serde_json::{Value, json};

/// How long a change may take to show on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PODS: &str = "/api/v1/namespaces/default/pods";
const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");

/// A cluster without anything but the API and the scheduler.
struct Cluster {
    scheduler: Child,
    admin: Client,
    server: Server,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop_scheduler();
    }
}

impl Cluster {
    fn start() -> Cluster {
        let server = Server::start(KEELSON);
        let admin = server.admin();
        let account = json!({"metadata": {"name": "default"}});
        let made = admin.post("/api/v1/namespaces/default/serviceaccounts", &account);
        assert!(matches!(made.code, 201 | 409), "{}", made.text());
        Cluster { scheduler: scheduler(&server), admin, server }
    }

    fn stop_scheduler(&mut self) {
        let _ = self.scheduler.kill();
        let _ = self.scheduler.wait();
    }

    fn restart_scheduler(&mut self) {
        self.stop_scheduler();
        self.scheduler = scheduler(&self.server);
    }

    /// A node that is ready, of 4 CPUs and 8 GiB, with these taints.
    fn node(&self, name: &str, taints: Value) {
        let has = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
        let node = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {"capacity": has, "allocatable": has},
        });
        self.must(201, self.admin.post("/api/v1/nodes", &node));
        // A new node is tainted until somebody says that it is ready.
        self.taint(name, taints);
    }

    fn taint(&self, name: &str, taints: Value) {
        let patch = json!({"spec": {"taints": taints}});
        self.must(200, self.admin.patch(&format!("/api/v1/nodes/{name}"), "merge", &patch));
    }

    /// A pod whose one container asks for so much CPU; `more` joins its spec.
    fn pod(&self, name: &str, cpu: &str, more: Value) {
        let mut spec = json!({"containers": [
            {"name": "c", "image": "image", "resources": {"requests": {"cpu": cpu}}},
        ]});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        self.must(201, self.admin.post(PODS, &json!({"metadata": {"name": name}, "spec": spec})));
    }

    fn must(&self, code: u16, answer: harness::api::Answer) {
        assert_eq!(answer.code, code, "{}", answer.text());
    }

    fn read(&self, name: &str) -> Value {
        self.admin.get(&format!("{PODS}/{name}")).json()
    }

    /// Follows a pod until it is as wished.
    fn when(&self, name: &str, what: &str, wished: impl Fn(&Value) -> bool) -> Value {
        let mut watch: Watch =
            self.admin.watch(&format!("{PODS}?watch=true&fieldSelector=metadata.name={name}"));
        let since = Instant::now();
        while let Some(event) = watch.next_event() {
            let pod = &event["object"];
            if wished(pod) {
                return pod.clone();
            }
            if since.elapsed() > PATIENCE {
                break;
            }
        }
        panic!("{name} never {what}: {}", self.read(name));
    }

    fn bound(&self, name: &str) -> String {
        let pod = self.when(name, "was bound", |pod| pod["spec"]["nodeName"].is_string());
        assert_eq!(scheduled(&pod)["status"], "True", "{pod}");
        pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()
    }

    fn refused(&self, name: &str, message: &str) {
        let what = format!("was refused with {message:?}");
        let pod = self.when(name, &what, |pod| scheduled(pod)["message"] == message);
        let condition = scheduled(&pod);
        assert_eq!((&condition["status"], &condition["reason"]), (&"False".into(), &"Unschedulable".into()));
    }

    /// Waits for an event about a pod; its type and message.
    fn event(&self, name: &str, reason: &str) -> (String, String) {
        let fields = format!("involvedObject.name={name},reason={reason}");
        let path = format!("/api/v1/namespaces/default/events?watch=true&fieldSelector={fields}");
        let event =
            self.admin.watch(&path).next_event().unwrap_or_else(|| panic!("no {reason} about {name}"));
        let text = |field: &str| event["object"][field].as_str().unwrap_or_default().to_owned();
        assert_eq!(event["object"]["source"]["component"], "default-scheduler");
        (text("type"), text("message"))
    }
}

fn scheduler(server: &Server) -> Child {
    let mut command = Command::new(KEELSON);
    command.arg("scheduler").arg("--kubeconfig").arg(server.kubeconfig()).stdin(Stdio::null());
    command.env("KEELSON_LOG", "warn").spawn().expect("starting the scheduler")
}

/// The condition `PodScheduled`.
fn scheduled(pod: &Value) -> Value {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == "PodScheduled").unwrap_or_default()
}

/// The sentence where preemption helps on no node.
fn helpless(nodes: usize, why: &str) -> String {
    format!(
        "0/{nodes} nodes are available: {why}. no new claims to deallocate, preemption: 0/{nodes} nodes are available: \
         {nodes} Preemption is not helpful for scheduling."
    )
}

#[test]
fn twelve_pods_over_three_nodes() {
    let mut cluster = Cluster::start();
    for name in ["node-1", "node-2", "node-3"] {
        cluster.node(name, json!(null));
        // Nodes and pods come on watches of their own: from here on this node is one that the scheduler knows.
        let first = format!("first-{name}");
        cluster.pod(&first, "100m", json!({"nodeSelector": {"kubernetes.io/hostname": name}}));
        assert_eq!(cluster.bound(&first), name);
    }
    let names: Vec<String> = (1..=12).map(|number| format!("web-{number}")).collect();
    for name in &names {
        cluster.pod(name, "100m", json!({}));
    }
    let mut counts = BTreeMap::new();
    for name in &names {
        *counts.entry(cluster.bound(name)).or_insert(0) += 1;
    }
    let expect = ["node-1", "node-2", "node-3"].map(|name| (name.to_owned(), 4));
    assert_eq!(counts, BTreeMap::from(expect));
    let node = cluster.bound("web-1");
    let message = format!("Successfully assigned default/web-1 to {node}");
    assert_eq!(cluster.event("web-1", "Scheduled"), ("Normal".to_owned(), message));
    // A new scheduler knows what the old one has placed: all of 12 CPUs are taken.
    cluster.restart_scheduler();
    for number in 1..=3 {
        cluster.pod(&format!("large-{number}"), "3500m", json!({}));
        cluster.bound(&format!("large-{number}"));
    }
    cluster.pod("late", "1", json!({}));
    let pod = cluster.when("late", "was refused", |pod| scheduled(pod)["reason"] == "Unschedulable");
    assert_eq!(
        scheduled(&pod)["message"],
        "0/3 nodes are available: 3 Insufficient cpu. no new claims to deallocate, preemption: 0/3 nodes are available: \
         3 No preemption victims found for incoming pod.",
    );
    // Room that is given back is taken.
    cluster.must(200, cluster.admin.send("DELETE", &format!("{PODS}/large-1?gracePeriodSeconds=0"), "", b""));
    cluster.bound("late");
}

#[test]
fn refused_until_something_changes() {
    let cluster = Cluster::start();
    cluster.pod("first", "1", json!({}));
    cluster.refused("first", "no nodes available to schedule pods");
    // A node with room comes.
    cluster.node("node-1", json!(null));
    assert_eq!(cluster.bound("first"), "node-1");
    // Too large for any node.
    cluster.pod("large", "64", json!({}));
    let message = helpless(1, "1 Insufficient cpu");
    cluster.refused("large", &message);
    assert_eq!(cluster.event("large", "FailedScheduling"), ("Warning".to_owned(), message));
    // Tainted from its first moment, then not; tolerated at once. Whether the node or a pod is seen first does not matter.
    cluster.node("node-2", json!([{"key": "a", "value": "b", "effect": "NoSchedule"}]));
    let there = json!({"kubernetes.io/hostname": "node-2"});
    cluster.pod("plain", "1", json!({"nodeSelector": there}));
    let others = "1 node(s) didn't match Pod's node affinity/selector";
    cluster.refused("plain", &helpless(2, &format!("{others}, 1 node(s) had untolerated taint(s)")));
    let tolerations = json!([{"key": "a", "operator": "Exists"}]);
    cluster.pod("tolerant", "1", json!({"nodeSelector": there, "tolerations": tolerations}));
    assert_eq!(cluster.bound("tolerant"), "node-2");
    cluster.taint("node-2", json!(null));
    assert_eq!(cluster.bound("plain"), "node-2");
    // A selector, then the label.
    cluster.pod("picky", "1", json!({"nodeSelector": {"disk": "ssd"}}));
    cluster.refused("picky", &helpless(2, "2 node(s) didn't match Pod's node affinity/selector"));
    let label = json!({"metadata": {"labels": {"disk": "ssd"}}});
    cluster.must(200, cluster.admin.patch("/api/v1/nodes/node-1", "merge", &label));
    assert_eq!(cluster.bound("picky"), "node-1");
}

#[test]
fn pods_that_are_not_ours_or_not_ready_stay() {
    let cluster = Cluster::start();
    cluster.node("node-1", json!(null));
    cluster.pod("theirs", "1", json!({"schedulerName": "another"}));
    cluster.pod("gated", "1", json!({"schedulingGates": [{"name": "example.com/wait"}]}));
    cluster.pod("ours", "1", json!({}));
    assert_eq!(cluster.bound("ours"), "node-1");
    assert_eq!(cluster.read("theirs")["spec"]["nodeName"], Value::Null);
    assert_eq!(cluster.read("gated")["spec"]["nodeName"], Value::Null);
    // Without its gate it goes.
    let patch = json!({"spec": {"schedulingGates": null}});
    cluster.must(200, cluster.admin.patch(&format!("{PODS}/gated"), "merge", &patch));
    assert_eq!(cluster.bound("gated"), "node-1");
}

#[test]
fn the_api_may_go_and_come_back() {
    let mut cluster = Cluster::start();
    cluster.node("node-1", json!(null));
    cluster.pod("before", "1", json!({}));
    assert_eq!(cluster.bound("before"), "node-1");
    cluster.server.kill();
    cluster.server.restart();
    cluster.pod("after", "1", json!({}));
    assert_eq!(cluster.bound("after"), "node-1");
    cluster.pod("large", "3", json!({}));
    let message = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are \
                   available: 1 No preemption victims found for incoming pod.";
    cluster.refused("large", message);
}

/// A condition of a pod, without its time.
fn condition(pod: &Value, kind: &str) -> Value {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let mut found = conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default();
    if let Some(fields) = found.as_object_mut() {
        fields.retain(|name, _| ["status", "reason", "message"].contains(&name.as_str()));
    }
    found
}

#[test]
fn a_more_important_pod_takes_the_place_of_another() {
    let cluster = Cluster::start();
    cluster.node("node-1", json!(null));
    for (name, value) in [("low", 10), ("middle", 100), ("high", 1000)] {
        let class = json!({"metadata": {"name": name}, "value": value});
        cluster.must(201, cluster.admin.post("/apis/scheduling.k8s.io/v1/priorityclasses", &class));
    }
    let of = |class: &str| json!({"priorityClassName": class});
    cluster.pod("victim", "3", of("low"));
    assert_eq!(cluster.bound("victim"), "node-1");
    cluster.pod("bystander", "500m", of("low"));
    assert_eq!(cluster.bound("bystander"), "node-1");
    cluster.pod("urgent", "3", of("high"));
    // The victim is told why, and has its grace period.
    let victim =
        cluster.when("victim", "was deleted", |pod| pod["metadata"]["deletionTimestamp"].is_string());
    let message = "default-scheduler: preempting to accommodate a higher priority pod";
    assert_eq!(
        condition(&victim, "DisruptionTarget"),
        json!({"status": "True", "reason": "PreemptionByScheduler", "message": message})
    );
    assert_eq!(victim["metadata"]["deletionGracePeriodSeconds"], 30);
    let urgent =
        cluster.when("urgent", "was promised a node", |pod| pod["status"]["nominatedNodeName"] == "node-1");
    let uid = urgent["metadata"]["uid"].as_str().unwrap_or_default();
    let message = format!("Preempted by pod {uid} on node node-1");
    assert_eq!(cluster.event("victim", "Preempted"), ("Normal".to_owned(), message));
    let message = "0/1 nodes are available: 1 Insufficient cpu.";
    assert_eq!(condition(&urgent, "PodScheduled")["message"], message);
    assert_eq!(cluster.event("urgent", "FailedScheduling"), ("Warning".to_owned(), message.to_owned()));
    assert_eq!(cluster.read("bystander")["metadata"]["deletionTimestamp"], Value::Null);
    // What becomes free is promised: nobody less important gets it, or has others evicted for it.
    cluster.pod("rival", "3", of("middle"));
    let promised = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are \
                    available: 1 Insufficient cpu.";
    cluster.refused("rival", promised);
    cluster.must(200, cluster.admin.send("DELETE", &format!("{PODS}/victim?gracePeriodSeconds=0"), "", b""));
    assert_eq!(cluster.bound("urgent"), "node-1");
    assert_eq!(cluster.read("urgent")["status"]["nominatedNodeName"], Value::Null, "it has the node now");
    for name in ["rival", "bystander"] {
        let pod = cluster.read(name);
        assert_eq!(pod["metadata"]["deletionTimestamp"], Value::Null);
        assert_eq!(pod["spec"]["nodeName"].is_string(), name == "bystander");
    }
}

#[test]
fn namespaces_are_chosen_by_their_labels() {
    let cluster = Cluster::start();
    cluster.must(201, cluster.admin.post("/api/v1/namespaces", &json!({"metadata": {"name": "red"}})));
    let account = json!({"metadata": {"name": "default"}});
    cluster.must(201, cluster.admin.post("/api/v1/namespaces/red/serviceaccounts", &account));
    cluster.node("node-1", json!(null));
    cluster.node("node-2", json!(null));
    let web = json!({"metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "image"}], "nodeName": "node-2"}});
    cluster.must(201, cluster.admin.post("/api/v1/namespaces/red/pods", &web));
    let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}},
        "namespaceSelector": {"matchLabels": {"team": "red"}}});
    let near = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    cluster.pod("guest", "1", json!({"affinity": near}));
    cluster.refused("guest", &helpless(2, "2 node(s) didn't match pod affinity rules"));
    let label = json!({"metadata": {"labels": {"team": "red"}}});
    cluster.must(200, cluster.admin.patch("/api/v1/namespaces/red", "merge", &label));
    assert_eq!(cluster.bound("guest"), "node-2");
}

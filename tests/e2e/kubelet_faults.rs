//! A fault at every step of a pod's life: the pod runs all the same, once, and nothing of it is left.

mod broker;

use std::collections::BTreeMap;

use broker::{Broker, Fault, Loss};
use harness::node::{Node, Part, is_true, stage};
use serde_json::json;

const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");
/// More changing calls than a pod's life has: sandbox, two containers made and started, and all of it taken down.
const STEPS: usize = 12;
/// As many calls are made for a pod that loses none.
const STEPS_MIN: usize = 9;

fn pods() -> BTreeMap<String, Fault> {
    let each = |loss: Loss, name: &'static str| {
        (1..=STEPS).map(move |at| (format!("loses-{name}-{at:02}"), Fault { loss, at }))
    };
    each(Loss::Call, "call").chain(each(Loss::Answer, "answer")).collect()
}

#[test]
fn any_call_may_be_lost() {
    stage("any_call_may_be_lost", KEELSON, |node| {
        let pods = pods();
        let broker = Broker::start(node.path("faults.sock"), node.path("cri.sock"), pods.clone());
        node.kill(Part::Kubelet);
        node.runtime_endpoint = Some(broker.socket.clone());
        node.start(Part::Kubelet);
        for name in pods.keys() {
            create(node, name);
        }
        for name in pods.keys() {
            let status = node.until_pod(name, "is ready", |status| is_true(status, "Ready"));
            assert_eq!(status["containerStatuses"][0]["restartCount"], 0, "{name}: {status:#}");
            assert_eq!(
                status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 0,
                "{name}: {status:#}"
            );
        }
        for name in pods.keys() {
            node.kubectl(&format!("delete pod {name} --wait=false"));
        }
        node.until("all pods are gone", |node| node.pods().is_empty());
        let lost = broker.lost();
        for (name, fault) in &pods {
            let calls = broker.calls(name);
            assert!(lost.contains_key(name) || fault.at > STEPS_MIN, "{name} lost nothing of {calls:?}");
        }
        let kinds: std::collections::BTreeSet<&String> = lost.values().collect();
        println!("lost: {lost:?}");
        assert!(kinds.len() >= 6, "{kinds:?}");
        // What is left below the node's folder, in cgroups, mounts and namespaces is looked for by the stage.
        assert_eq!(node.processes(), [], "processes of pods are left");
        assert_eq!(left(node, "state/io"), 0, "streams of containers are left");
        node.runtime_endpoint = None;
        node.kill(Part::Kubelet);
        node.start(Part::Kubelet);
    });
}

fn create(node: &Node, name: &str) {
    let container = |name: &str, script: &str| json!({"name": name, "image": node.image, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script]});
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "initContainers": [container("first", "true")],
        "containers": [container("main", "trap 'exit 0' TERM; while :; do sleep 0.1; done")],
    });
    node.pod(name, spec);
}

fn left(node: &Node, folder: &str) -> usize {
    std::fs::read_dir(node.path(folder)).map_or(0, Iterator::count)
}

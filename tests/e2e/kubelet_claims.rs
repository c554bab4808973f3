//! Pods that mount claims: held back while a claim has no volume, put where the volume is, and run with it.

use harness::node::{NODE, Node, is_true, stage};
use serde_json::{Value, json};

const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const VOLUMES: &str = "/api/v1/persistentvolumes";
/// Says that it was here, and goes on until it is told to end.
const WRITER: &str = "echo here > /data/said; trap 'exit 0' TERM; while :; do sleep 0.1; done";

fn claim(node: &Node, name: &str, class: &str) {
    let claim = json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"],
        "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}}});
    let _made = node.admin.post(CLAIMS, &claim).expect(201);
}

/// A folder of the node as a volume.
fn volume(node: &Node, name: &str, class: &str, source: Value) {
    let object = node.admin.get(&format!("/api/v1/nodes/{NODE}")).expect(200);
    let host = object["metadata"]["labels"]["kubernetes.io/hostname"].clone();
    let here = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}]}]);
    let mut spec = json!({"capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
        "persistentVolumeReclaimPolicy": "Retain", "nodeAffinity": {"required": {"nodeSelectorTerms": here}}});
    for (field, value) in source.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    let _made = node.admin.post(VOLUMES, &json!({"metadata": {"name": name}, "spec": spec})).expect(201);
}

fn pod(node: &Node, name: &str, claim: &str) {
    let mount = json!([{"name": "data", "mountPath": "/data"}]);
    let container =
        json!({"name": "c", "image": node.image, "command": ["sh", "-c", WRITER], "volumeMounts": mount});
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
    node.pod(
        name,
        json!({"terminationGracePeriodSeconds": 1, "containers": [container], "volumes": volumes}),
    );
}

/// Waits until an object was told something.
fn told(node: &mut Node, name: &str, reason: &str, words: &str) {
    node.until(&format!("{name} is told {reason}: {words}"), |node| {
        let path = format!(
            "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name={name},reason={reason}"
        );
        let list = node.admin.get(&path).expect(200);
        let mut events = list["items"].as_array().into_iter().flatten();
        events.any(|event| event["message"].as_str().is_some_and(|message| message.contains(words)))
    });
}

/// The status that `kubectl get pvc` shows.
fn shown(node: &Node, claim: &str) -> String {
    let line = node.kubectl(&format!("get pvc {claim} --no-headers"));
    line.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

/// What the pod wrote is on the node, and the claim is bound.
fn runs(node: &mut Node, pod: &str, claim: &str, folder: &std::path::Path) {
    node.until_pod(pod, "is ready", |status| is_true(status, "Ready"));
    let file = folder.join("said");
    node.until("the file is there", |_| std::fs::read_to_string(&file).is_ok_and(|text| text == "here\n"));
    assert_eq!(shown(node, claim), "Bound");
}

#[test]
fn a_pod_waits_for_its_volume() {
    stage("a_pod_waits_for_its_volume", KEELSON, |node| {
        let class = json!({"metadata": {"name": "local"}, "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer"});
        let _made = node.admin.post("/apis/storage.k8s.io/v1/storageclasses", &class).expect(201);
        let folders = ["local", "host"].map(|name| node.path(name));
        folders.iter().for_each(|folder| std::fs::create_dir_all(folder).expect("a folder"));
        // A class that waits for its first consumer: the scheduler chooses.
        claim(node, "later", "local");
        told(
            node,
            "later",
            "WaitForFirstConsumer",
            "waiting for first consumer to be created before binding",
        );
        assert_eq!(shown(node, "later"), "Pending");
        pod(node, "first", "later");
        let none = "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind.";
        told(node, "first", "FailedScheduling", none);
        told(node, "later", "WaitForPodScheduled", "waiting for pod first to be scheduled");
        volume(node, "on-node", "local", json!({"local": {"path": folders[0]}}));
        runs(node, "first", "later", &folders[0]);
        // No class: bound as soon as there is a volume, and not scheduled before.
        claim(node, "now", "");
        told(
            node,
            "now",
            "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set",
        );
        pod(node, "second", "now");
        let unbound = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.";
        told(node, "second", "FailedScheduling", unbound);
        volume(node, "on-host", "", json!({"hostPath": {"path": folders[1], "type": "Directory"}}));
        runs(node, "second", "now", &folders[1]);
        a_driver_makes_a_volume(node);
        for name in ["first", "second"] {
            node.kubectl(&format!("delete pod {name} --wait=true --timeout=60s"));
        }
        assert!(folders.iter().all(|folder| folder.join("said").exists()), "what was written stays");
    });
}

/// A claim that is made for a pod alone, of a class whose driver hears of the node: the test is the driver.
fn a_driver_makes_a_volume(node: &mut Node) {
    let (driver, folder) = ("driver.example", node.path("made"));
    std::fs::create_dir_all(&folder).expect("a folder");
    let class = json!({"metadata": {"name": "made"}, "provisioner": driver, "volumeBindingMode": "WaitForFirstConsumer"});
    let _made = node.admin.post("/apis/storage.k8s.io/v1/storageclasses", &class).expect(201);
    let wish = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "made", "resources": {"requests": {"storage": "1Gi"}}});
    let container = json!({"name": "c", "image": node.image, "command": ["sh", "-c", WRITER],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}]});
    let volumes = json!([{"name": "data", "ephemeral": {"volumeClaimTemplate": {"spec": wish}}}]);
    let spec = json!({"terminationGracePeriodSeconds": 1, "containers": [container], "volumes": volumes});
    node.pod("third", spec);
    let read = |node: &Node| node.admin.get(&format!("{CLAIMS}/third-data"));
    node.until("the driver is told the node", |node| {
        let answer = read(node);
        let annotations = if answer.code == 200 {
            answer.expect(200)["metadata"]["annotations"].clone()
        } else {
            Value::Null
        };
        annotations["volume.kubernetes.io/selected-node"] == NODE
            && annotations["volume.kubernetes.io/storage-provisioner"] == driver
    });
    told(node, "third-data", "ExternalProvisioning", "external provisioner 'driver.example'");
    assert!(node.get("third")["spec"]["nodeName"].is_null(), "it waits for its volume");
    let uid = read(node).expect(200)["metadata"]["uid"].clone();
    let claim =
        json!({"kind": "PersistentVolumeClaim", "namespace": "default", "name": "third-data", "uid": uid});
    let source = json!({"hostPath": {"path": folder}, "claimRef": claim});
    volume(node, "made-for-third", "made", source);
    runs(node, "third", "third-data", &folder);
    node.kubectl("delete pod third --wait=true --timeout=60s");
    node.until("its claim is gone", |node| read(node).code == 404);
}

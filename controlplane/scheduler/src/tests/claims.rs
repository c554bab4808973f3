//! Claims and what they mean for nodes: who is held back, who gets which volume where.

use std::sync::Arc;

use client::{Key, Object, Resource};
use serde_json::{Value, json};

use super::{decide, node, pod, snapshot};
use crate::claims::{Choice, Claims, Lookup, SELECTED_NODE};
use crate::node::NodeName;
use crate::{Decision, Pod};

/// What there is: claims, volumes, classes; volumes that are promised to a claim.
#[derive(Default)]
struct Storage {
    claims: Vec<Value>,
    volumes: Vec<Value>,
    classes: Vec<Value>,
    promised: Vec<(&'static str, &'static str)>,
}

fn found(all: &[Value], name: &str) -> Option<Arc<Object>> {
    let found = all.iter().find(|one| one["metadata"]["name"] == name)?;
    Some(Arc::new(Object::of(&Resource::VOLUMES, found.clone())))
}

impl Lookup for Storage {
    fn claim(&self, key: &Key) -> Option<Arc<Object>> {
        found(&self.claims, &key.name)
    }

    fn volume(&self, name: &str) -> Option<Arc<Object>> {
        found(&self.volumes, name)
    }

    fn class(&self, name: &str) -> Option<Arc<Object>> {
        found(&self.classes, name)
    }

    fn candidates(&self, _: &Key, _: &str) -> Vec<Arc<Object>> {
        self.volumes.iter().map(|one| Arc::new(Object::of(&Resource::VOLUMES, one.clone()))).collect()
    }

    fn promised(&self, volume: &str) -> Option<Key> {
        let found = self.promised.iter().find(|(name, _)| *name == volume)?;
        Some(Key::new("default", found.1))
    }

    fn chosen(&self, _: &Key) -> Option<NodeName> {
        None
    }
}

fn claim(name: &str, class: &str, size: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "uid": name}, "status": {"phase": "Pending"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": size}}}})
}

fn bound(name: &str, volume: &str) -> Value {
    let mut claim = claim(name, "local", "1Gi");
    claim["spec"]["volumeName"] = volume.into();
    claim["metadata"]["annotations"] = json!({"pv.kubernetes.io/bind-completed": "yes"});
    claim
}

/// A volume of class `local` that one node reaches.
fn volume(name: &str, size: &str, node: &str) -> Value {
    let here = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]);
    json!({"metadata": {"name": name}, "status": {"phase": "Available"}, "spec": {"capacity": {"storage": size},
        "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
        "nodeAffinity": {"required": {"nodeSelectorTerms": here}}}})
}

fn class(name: &str, provisioner: &str) -> Value {
    json!({"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer"})
}

fn storage(claims: Vec<Value>, volumes: Vec<Value>) -> Storage {
    let immediate =
        json!({"metadata": {"name": "now"}, "provisioner": "p", "volumeBindingMode": "Immediate"});
    let classes = vec![class("local", "kubernetes.io/no-provisioner"), class("made", "driver"), immediate];
    Storage { claims, volumes, classes, ..Storage::default() }
}

fn with(claims: &[&str]) -> Pod {
    let volumes: Vec<Value> = claims
        .iter()
        .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}))
        .collect();
    pod("p", json!({}), json!({"spec": {"volumes": volumes}}))
}

/// What becomes of a pod on two nodes: the node and what the claims get, or why it has none.
fn outcome(storage: &Storage, pod: &Pod) -> String {
    let host = |name: &str| json!({"metadata": {"labels": {"kubernetes.io/hostname": name}}});
    let snapshot = snapshot(vec![node("a", host("a")), node("b", host("b"))], vec![]);
    let pod = pod.claiming(Claims::read(pod, storage));
    match decide(&snapshot, &pod) {
        Decision::Assign(node) => {
            let choices = pod.claims.choose(snapshot.node(&node).unwrap()).unwrap();
            let shown = choices.into_iter().map(|choice| match choice {
                Choice::Volume { claim, volume } => format!("{}={volume}", claim.name),
                Choice::Provision { claim } => format!("{}=?", claim.name),
            });
            format!("{} {}", node.as_str(), shown.collect::<Vec<_>>().join(" "))
        }
        Decision::Refuse(refusal) => {
            let message = refusal.message;
            let why = message.strip_prefix("0/2 nodes are available: ").unwrap_or(&message).to_owned();
            why.split(". ").next().unwrap_or_default().to_owned()
        }
    }
}

fn check(storage: Storage, claims: &[&str], expected: &str) {
    assert_eq!(outcome(&storage, &with(claims)), expected, "{claims:?}");
}

#[test]
fn unbound_claims_hold_a_pod_back() {
    let immediate = "pod has unbound immediate PersistentVolumeClaims";
    check(storage(vec![], vec![]), &["c"], "persistentvolumeclaim \"c\" not found");
    check(storage(vec![claim("c", "now", "1Gi")], vec![]), &["c"], immediate);
    check(storage(vec![claim("c", "", "1Gi")], vec![volume("v", "1Gi", "a")]), &["c"], immediate);
    check(storage(vec![claim("c", "unknown", "1Gi")], vec![]), &["c"], immediate);
    // It names its volume; the controller has not said yes.
    let mut named = claim("c", "local", "1Gi");
    named["spec"]["volumeName"] = "v".into();
    check(storage(vec![named], vec![volume("v", "1Gi", "a")]), &["c"], immediate);
    let mut lost = bound("c", "v");
    lost["status"]["phase"] = "Lost".into();
    let why = "persistentvolumeclaim \"c\" bound to non-existent persistentvolume \"v\"";
    check(storage(vec![lost], vec![]), &["c"], why);
    let mut leaving = bound("c", "v");
    leaving["metadata"]["deletionTimestamp"] = "t".into();
    check(storage(vec![leaving], vec![]), &["c"], "persistentvolumeclaim \"c\" is being deleted");
    let gone = "2 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
    check(storage(vec![bound("c", "v")], vec![]), &["c"], gone);
    check(storage(vec![bound("c", "v")], vec![volume("v", "1Gi", "b")]), &["c"], "b ");
}

#[test]
fn ephemeral_claims_are_the_pods_own() {
    let own = || pod("p", json!({}), json!({"spec": {"volumes": [{"name": "v", "ephemeral": {}}]}}));
    let waits = "waiting for ephemeral volume controller to create the persistentvolumeclaim \"p-v\"";
    assert_eq!(outcome(&storage(vec![], vec![]), &own()), waits);
    let foreign = "PVC default/p-v was not created for pod default/p (pod is not owner)";
    assert_eq!(outcome(&storage(vec![claim("p-v", "made", "1Gi")], vec![]), &own()), foreign);
    let mut made = claim("p-v", "made", "1Gi");
    made["metadata"]["ownerReferences"] = json!([{"uid": "p"}]);
    assert_eq!(outcome(&storage(vec![made], vec![]), &own()), "a p-v=?");
}

#[test]
fn a_claim_gets_the_smallest_volume_that_the_node_reaches() {
    let none = "2 node(s) didn't find available persistent volumes to bind";
    let local = |size: &str| vec![claim("c", "local", size)];
    check(storage(local("1Gi"), vec![]), &["c"], none);
    check(storage(local("2Gi"), vec![volume("v", "1Gi", "a")]), &["c"], none);
    check(storage(local("1Gi"), vec![volume("v", "1Gi", "b")]), &["c"], "b c=v");
    let two = vec![volume("big", "9Gi", "b"), volume("small", "2Gi", "b")];
    check(storage(local("1Gi"), two.clone()), &["c"], "b c=small");
    // Promised to another claim, or this one's already.
    let promised = |claim| Storage { promised: vec![("small", claim)], ..storage(local("1Gi"), two.clone()) };
    check(promised("other"), &["c"], "b c=big");
    check(promised("c"), &["c"], "b c=small");
    let mut meant = volume("meant", "9Gi", "a");
    meant["spec"]["claimRef"] = json!({"namespace": "default", "name": "c", "uid": "c"});
    check(storage(local("1Gi"), vec![meant.clone(), volume("free", "1Gi", "b")]), &["c"], "a c=meant");
    meant["spec"]["claimRef"]["uid"] = "another".into();
    check(storage(local("1Gi"), vec![meant]), &["c"], none);
    let mut released = volume("v", "1Gi", "a");
    released["status"]["phase"] = "Released".into();
    check(storage(local("1Gi"), vec![released]), &["c"], none);
    let mut block = volume("v", "1Gi", "a");
    block["spec"]["volumeMode"] = "Block".into();
    check(storage(local("1Gi"), vec![block]), &["c"], none);
}

#[test]
fn several_claims_share_a_node_and_no_volume() {
    let claims = || vec![claim("large", "local", "5Gi"), claim("small", "local", "1Gi")];
    let volumes = vec![volume("v", "9Gi", "a"), volume("w", "5Gi", "a"), volume("x", "5Gi", "b")];
    // The small one takes the small volume, so that the large one has room.
    check(storage(claims(), volumes), &["large", "small"], "a small=w large=v");
    let none = "2 node(s) didn't find available persistent volumes to bind";
    let apart = vec![volume("v", "9Gi", "a"), volume("x", "5Gi", "b")];
    check(storage(claims(), apart), &["large", "small"], none);
}

#[test]
fn a_driver_makes_volumes_on_the_chosen_node() {
    check(storage(vec![claim("c", "made", "1Gi")], vec![]), &["c"], "a c=?");
    let mut chosen = claim("c", "made", "1Gi");
    chosen["metadata"]["annotations"] = json!({SELECTED_NODE: "b"});
    check(storage(vec![chosen], vec![]), &["c"], "b c=?");
    let mut narrow = storage(vec![claim("c", "made", "1Gi")], vec![]);
    narrow.classes[1]["allowedTopologies"] =
        json!([{"matchLabelExpressions": [{"key": "kubernetes.io/hostname", "values": ["b"]}]}]);
    check(narrow, &["c"], "b c=?");
}

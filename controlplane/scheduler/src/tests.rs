//! Decisions as tables: every filter's message, every score's choice.

mod claims;
mod messages;
mod neighbours;
mod preemption;
mod scores;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::claims::Claims;
use crate::{Decision, Node, Pod, Snapshot, plan};

/// A node of 4 CPUs, 8 GiB and 10 pods; `more` is merged into it.
fn node(name: &str, more: Value) -> Node {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "10Gi", "pods": "10"}},
    });
    merge(&mut node, more);
    Node::read(&node)
}

/// A pod with one container and these requests; `more` is merged into it.
fn pod(name: &str, requests: Value, more: Value) -> Pod {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"schedulerName": "default-scheduler", "containers": [{"name": "c", "resources": {"requests": requests}}]},
    });
    merge(&mut pod, more);
    Pod::read(&pod)
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

/// Pods here are on the node that their `spec.nodeName` says.
fn snapshot(nodes: Vec<Node>, pods: Vec<Pod>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for node in nodes {
        snapshot.set_node(node);
    }
    for pod in pods {
        snapshot.place(Arc::new(pod));
    }
    snapshot
}

fn on(node: &str) -> Value {
    json!({"spec": {"nodeName": node}})
}

fn decide(snapshot: &Snapshot, pod: &Pod) -> Decision {
    plan(snapshot, pod, &mut |_| 0)
}

#[test]
fn a_pod_goes_where_its_volumes_are() {
    let host = |name: &str| json!({"metadata": {"labels": {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": name}}});
    let snapshot = snapshot(vec![node("a", host("a")), node("b", host("b"))], vec![]);
    let of = |volume: Value| {
        let mut claims = Claims::default();
        claims.bound.push(crate::volumes::Reach::read(&volume));
        pod("p", json!({}), json!({})).claiming(claims)
    };
    let local = |host: &str| {
        json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions":
        [{"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}]}]}}}})
    };
    let beta = |zone: &str| json!({"metadata": {"labels": {"failure-domain.beta.kubernetes.io/zone": zone}}});
    for volume in [local("b"), beta("b")] {
        assert_eq!(decide(&snapshot, &of(volume)), Decision::Assign(crate::node::NodeName::new("b")));
    }
    for (volume, why) in [
        (local("c"), "2 node(s) didn't match PersistentVolume's node affinity"),
        (beta("c"), "2 node(s) had no available volume zone"),
    ] {
        let Decision::Refuse(refusal) = decide(&snapshot, &of(volume)) else {
            panic!("there is no such node")
        };
        assert!(
            refusal.message.starts_with(&format!("0/2 nodes are available: {why}.")),
            "{}",
            refusal.message
        );
    }
}

#[test]
fn taken_room_is_never_given_twice() {
    let mut snapshot = snapshot(vec![node("a", json!({})), node("b", json!({}))], vec![]);
    let mut assigned = 0;
    for number in 0..20 {
        let pod = pod(&format!("p{number}"), json!({"cpu": "1500m"}), json!({}));
        if let Decision::Assign(node) = decide(&snapshot, &pod) {
            assigned += 1;
            snapshot.place(Arc::new(pod.placed(node)));
        }
    }
    assert_eq!(assigned, 4);
    assert!(snapshot.nodes().all(|(node, room)| room.requested().cpu_millis <= node.allocatable.cpu_millis));
    // What was not bound is given back.
    assert!(snapshot.remove(&crate::PodUid::new("p0")) && !snapshot.remove(&crate::PodUid::new("p0")));
    assert!(matches!(
        decide(&snapshot, &pod("late", json!({"cpu": "1500m"}), json!({}))),
        Decision::Assign(_)
    ));
}

#[test]
fn what_is_placed_and_removed_leaves_no_trace() {
    let term =
        json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}});
    let shy = json!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}});
    let mut cluster = snapshot(vec![node("a", json!({})), node("b", json!({}))], vec![]);
    let replica = |name: &str, node: &str, more: &Value| {
        let mut all = json!({"metadata": {"labels": {"app": "web"}}});
        merge(&mut all, more.clone());
        merge(&mut all, on(node));
        Arc::new(pod(name, json!({}), all))
    };
    for (name, node, more) in
        [("1", "a", &json!({})), ("2", "a", &json!({})), ("3", "b", &json!({})), ("4", "b", &shy)]
    {
        cluster.place(replica(name, node, more));
    }
    let counts = |cluster: &Snapshot| {
        let mut counts: Vec<(usize, i64)> = cluster
            .peers()
            .all()
            .map(|(_, placed)| (placed.len(), placed.values().map(|count| count.all).sum()))
            .collect();
        counts.sort();
        counts
    };
    // Three that look alike on two nodes, and one that wants something.
    assert_eq!((counts(&cluster), cluster.peers().with_affinity().count()), (vec![(1, 1), (2, 3)], 1));
    // A pod that changes moves from one kind to the other; one that is being deleted stays in its own.
    cluster.place(replica("3", "b", &shy));
    cluster.place(replica("1", "a", &json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})));
    assert_eq!(counts(&cluster), [(1, 2), (1, 2)]);
    assert_eq!(cluster.peers().in_namespace("default").count(), 2);
    for name in ["1", "2", "3", "4"] {
        assert_eq!(cluster.lowest_priority(), Some(0));
        assert!(cluster.remove(&crate::PodUid::new(name)));
    }
    assert_eq!((counts(&cluster), cluster.lowest_priority()), (vec![], None));
}

#[test]
fn pods_of_a_missing_node_are_remembered() {
    let gone = pod("p", json!({"cpu": "3"}), on("a"));
    let mut snapshot = snapshot(vec![], vec![gone]);
    assert_eq!(snapshot.nodes().count(), 0);
    snapshot.set_node(node("a", json!({})));
    assert!(matches!(decide(&snapshot, &pod("q", json!({"cpu": "2"}), json!({}))), Decision::Refuse(_)));
    snapshot.remove_node(&crate::NodeName::new("a"));
    assert_eq!(snapshot.nodes().count(), 0);
}

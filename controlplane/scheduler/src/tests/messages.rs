//! What upstream 1.36 prints where no node will do.

use super::*;
use crate::Plugin;

fn check(snapshot: &Snapshot, pod: &Pod, message: &str) {
    match decide(snapshot, pod) {
        Decision::Refuse(refusal) => assert_eq!(refusal.message, message),
        Decision::Assign(node) => panic!("assigned to {node}; wanted: {message}"),
    }
}

/// The message where `reason` is all that is wrong with the one node there is.
fn alone(node: Node, others: Vec<Pod>, pod: &Pod, reason: &str, helpless: &str) {
    let message = format!(
        "0/1 nodes are available: 1 {reason}. no new claims to deallocate, preemption: \
         0/1 nodes are available: 1 {helpless}."
    );
    check(&snapshot(vec![node], others), pod, &message);
}

const USELESS: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

#[test]
fn no_nodes() {
    check(&Snapshot::default(), &pod("p", json!({}), json!({})), "no nodes available to schedule pods");
}

#[test]
fn every_filter() {
    let plain = pod("p", json!({"cpu": "1"}), json!({}));
    let cordoned = node("a", json!({"spec": {"unschedulable": true}}));
    alone(cordoned, vec![], &plain, "node(s) were unschedulable", USELESS);
    let named = pod("p", json!({}), on("b"));
    alone(node("a", json!({})), vec![], &named, "node(s) didn't match the requested node name", USELESS);
    for effect in ["NoSchedule", "NoExecute"] {
        let tainted = node("a", json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": effect}]}}));
        alone(tainted, vec![], &plain, "node(s) had untolerated taint(s)", USELESS);
    }
    let picky = pod("p", json!({}), json!({"spec": {"nodeSelector": {"disk": "ssd"}}}));
    alone(node("a", json!({})), vec![], &picky, "node(s) didn't match Pod's node affinity/selector", USELESS);
    let ports = |name: &str, more: Value| {
        let ports = json!({"spec": {"containers": [{"ports": [{"containerPort": 80, "hostPort": 80}]}]}});
        let mut all = ports;
        merge(&mut all, more);
        pod(name, json!({}), all)
    };
    let taken = vec![ports("q", on("a"))];
    let reason = "node(s) didn't have free ports for the requested pod ports";
    alone(node("a", json!({})), taken, &ports("p", json!({})), reason, NO_VICTIMS);
}

#[test]
fn every_resource() {
    let full = || vec![pod("q", json!({"cpu": "3", "memory": "7Gi", "ephemeral-storage": "9Gi"}), on("a"))];
    let fits = |requests: Value, reason: &str, helpless: &str| {
        let gpu = json!({"status": {"allocatable": {"nvidia.com/gpu": "1"}}});
        alone(node("a", gpu), full(), &pod("p", requests, json!({})), reason, helpless);
    };
    fits(json!({"cpu": "2"}), "Insufficient cpu", NO_VICTIMS);
    fits(json!({"cpu": "5"}), "Insufficient cpu", USELESS);
    fits(json!({"memory": "2Gi"}), "Insufficient memory", NO_VICTIMS);
    fits(json!({"ephemeral-storage": "2Gi"}), "Insufficient ephemeral-storage", NO_VICTIMS);
    fits(json!({"nvidia.com/gpu": "2"}), "Insufficient nvidia.com/gpu", USELESS);
    fits(json!({"example.com/none": "1"}), "Insufficient example.com/none", USELESS);
    // One reason per resource, sorted.
    fits(json!({"cpu": "2", "memory": "2Gi"}), "Insufficient cpu, 1 Insufficient memory", NO_VICTIMS);
    let small = json!({"status": {"allocatable": {"pods": "1"}}});
    alone(node("a", small), full(), &pod("p", json!({}), json!({})), "Too many pods", NO_VICTIMS);
}

#[test]
fn nodes_are_counted_by_reason() {
    let tainted =
        node("a", json!({"spec": {"taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}]}}));
    let nodes = vec![tainted, node("b", json!({})), node("c", json!({}))];
    let others = vec![pod("q", json!({"cpu": "3"}), on("b"))];
    let three = snapshot(nodes, others);
    check(
        &three,
        &pod("p", json!({"cpu": "64"}), json!({})),
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. no new claims to \
         deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
    );
    check(
        &three,
        &pod("p", json!({"cpu": "4", "memory": "9Gi"}), json!({})),
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), 2 Insufficient memory. no \
         new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
    );
}

#[test]
fn nodes_left_out_by_name() {
    let named = |names: Value| {
        let term = json!({"matchFields": names});
        let required = json!({"nodeSelectorTerms": [term]});
        let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}});
        pod("p", json!({"cpu": "9"}), json!({"spec": {"affinity": affinity}}))
    };
    let is = |name: &str| json!({"key": "metadata.name", "operator": "In", "values": [name]});
    let two = snapshot(vec![node("a", json!({})), node("b", json!({}))], vec![]);
    check(
        &two,
        &named(json!([is("a")])),
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]. no new claims \
         to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.",
    );
    check(
        &two,
        &named(json!([is("a"), is("b")])),
        "0/2 nodes are available: pod affinity terms conflict. no new claims to deallocate, preemption: 0/2 nodes are \
         available: 2 Preemption is not helpful for scheduling.",
    );
}

#[test]
fn a_pod_that_never_preempts() {
    let modest = pod("p", json!({"cpu": "9"}), json!({"spec": {"preemptionPolicy": "Never"}}));
    check(
        &snapshot(vec![node("a", json!({}))], vec![]),
        &modest,
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: not eligible due to \
         preemptionPolicy=Never.",
    );
}

#[test]
fn refusals_name_their_plugins() {
    let nodes = vec![node("a", json!({"spec": {"unschedulable": true}})), node("b", json!({}))];
    let Decision::Refuse(refusal) =
        decide(&snapshot(nodes, vec![]), &pod("p", json!({"cpu": "9"}), json!({})))
    else {
        panic!("no node is large enough");
    };
    assert_eq!(refusal.plugins, [Plugin::NodeUnschedulable, Plugin::NodeResourcesFit].into());
}

#[test]
fn tolerated_and_free_is_assigned() {
    let tolerant = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
    let closed = json!({"spec": {"unschedulable": true, "taints": [{"key": "k", "effect": "NoExecute"}]}});
    let one = snapshot(vec![node("a", closed)], vec![]);
    assert!(matches!(decide(&one, &pod("p", json!({"cpu": "4"}), tolerant)), Decision::Assign(_)));
    let port = |name: &str, address: &str, protocol: &str, more: Value| {
        let ports = json!([{"hostPort": 53, "hostIP": address, "protocol": protocol}]);
        let mut all = json!({"spec": {"containers": [{"ports": ports}]}});
        merge(&mut all, more);
        pod(name, json!({}), all)
    };
    let taken = snapshot(vec![node("a", json!({}))], vec![port("q", "10.0.0.1", "UDP", on("a"))]);
    for (address, protocol, free) in [
        ("10.0.0.1", "UDP", false),
        ("10.0.0.2", "UDP", true),
        ("10.0.0.1", "TCP", true),
        ("0.0.0.0", "UDP", false),
        ("", "UDP", false),
    ] {
        let decision = decide(&taken, &port("p", address, protocol, json!({})));
        assert_eq!(matches!(decision, Decision::Assign(_)), free, "{address} {protocol}");
    }
}

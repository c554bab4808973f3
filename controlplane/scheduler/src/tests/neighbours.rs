//! Pods near and far from each other, and evenly spread.

use serde_json::{Value, json};

use super::{decide, node, pod, snapshot};
use crate::{Decision, Node, Pod};

fn zoned(name: &str, zone: &str) -> Node {
    node(name, json!({"metadata": {"labels": {"zone": zone}}}))
}

fn labelled(name: &str, node: &str, app: &str, spec: Value) -> Pod {
    let mut more = json!({"metadata": {"labels": {"app": app}}, "spec": spec});
    if !node.is_empty() {
        more["spec"]["nodeName"] = node.into();
    }
    pod(name, json!({"cpu": "1m"}), more)
}

fn term(kind: &str, app: &str, topology: &str) -> Value {
    json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": topology}]}}})
}

/// The node, or the beginning of the refusal.
fn check(there: Vec<Pod>, wants: &Pod, expect: &str) {
    let nodes = vec![zoned("a", "x"), zoned("b", "x"), zoned("c", "y")];
    match decide(&snapshot(nodes, there), wants) {
        Decision::Assign(node) => assert_eq!(node.as_str(), expect),
        Decision::Refuse(refusal) => assert!(refusal.message.starts_with(expect), "{}", refusal.message),
    }
}

#[test]
fn near_and_far() {
    let web = || labelled("web", "c", "web", json!({}));
    check(vec![web()], &labelled("p", "", "p", term("podAffinity", "web", "zone")), "c");
    check(
        vec![],
        &labelled("p", "", "p", term("podAffinity", "web", "zone")),
        "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.",
    );
    // The first of its kind is near to itself.
    assert!(matches!(
        decide(
            &snapshot(vec![zoned("a", "x")], vec![]),
            &labelled("p", "", "p", term("podAffinity", "p", "zone"))
        ),
        Decision::Assign(_)
    ));
    let one = labelled("one", "a", "web", json!({}));
    check(vec![one], &labelled("p", "", "p", term("podAntiAffinity", "web", "zone")), "c");
    let shy = labelled("shy", "a", "shy", term("podAntiAffinity", "p", "zone"));
    check(vec![shy], &labelled("p", "", "p", json!({})), "c");
    let elsewhere = labelled("p", "", "p", term("podAntiAffinity", "web", "kubernetes.io/hostname"));
    let all = ["a", "b", "c"].map(|node| labelled(node, node, "web", json!({})));
    check(all.into(), &elsewhere, "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.");
}

#[test]
fn evenly() {
    let spread = |topology: &str| {
        json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": topology, "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}}]})
    };
    let there = || vec![labelled("1", "a", "web", json!({})), labelled("2", "b", "other", json!({}))];
    check(there(), &labelled("p", "", "web", spread("zone")), "c");
    check(
        there(),
        &labelled("p", "", "web", spread("rack")),
        "0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints (missing required label).",
    );
}

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

#[test]
fn pods_that_are_being_deleted() {
    let going = |app: &str, spec: Value| {
        let mut pod = json!({"metadata": {"name": "going", "namespace": "default", "uid": "going",
            "labels": {"app": app}, "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec});
        pod["spec"]["nodeName"] = "a".into();
        Pod::read(&pod)
    };
    // They count as neighbours until they are gone.
    check(
        vec![going("web", json!({}))],
        &labelled("p", "", "p", term("podAntiAffinity", "web", "zone")),
        "c",
    );
    check(
        vec![going("web", json!({}))],
        &labelled("p", "", "p", term("podAffinity", "web", "kubernetes.io/hostname")),
        "a",
    );
    check(vec![going("shy", term("podAntiAffinity", "p", "zone"))], &labelled("p", "", "p", json!({})), "c");
    // An even spread is one of those that stay.
    let there = vec![going("web", json!({})), labelled("1", "c", "web", json!({}))];
    let wants = labelled("p", "", "web", constraint(json!({"topologyKey": "zone"})));
    let snapshot = snapshot(vec![zoned("a", "x"), zoned("c", "y")], there);
    assert_eq!(decide(&snapshot, &wants), Decision::Assign(crate::NodeName::new("a")));
}

#[test]
fn near_to_pods_that_all_terms_are_about() {
    let terms = |labels: &[&str]| {
        let term = |label: &&str| {
            json!({"labelSelector": {"matchExpressions": [{"key": label, "operator": "Exists"}]},
            "topologyKey": "zone"})
        };
        let terms: Vec<Value> = labels.iter().map(term).collect();
        json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
    };
    let with = |name: &str, node: &str, labels: Value| {
        pod(name, json!({}), json!({"metadata": {"labels": labels}, "spec": {"nodeName": node}}))
    };
    let wants = pod("p", json!({}), json!({"spec": terms(&["one", "two"])}));
    let half = || vec![with("1", "a", json!({"one": ""})), with("2", "b", json!({"two": ""}))];
    check(half(), &wants, "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.");
    let mut whole = half();
    whole.push(with("3", "c", json!({"one": "", "two": ""})));
    check(whole, &wants, "c");
}

/// A term about pods `app: web` of the namespaces that `more` names.
fn in_namespaces(kind: &str, more: Value) -> Value {
    let mut spec = term(kind, "web", "zone");
    let terms = &mut spec["affinity"][kind]["requiredDuringSchedulingIgnoredDuringExecution"];
    super::merge(&mut terms[0], more);
    spec
}

#[test]
fn namespaces_of_terms() {
    let other = |name: &str, node: &str, namespace: &str, spec: Value| {
        let mut more = json!({"metadata": {"namespace": namespace, "labels": {"app": "web"}}, "spec": spec});
        more["spec"]["nodeName"] = node.into();
        pod(name, json!({}), more)
    };
    let place = |there: Vec<Pod>, wants: &Pod| {
        let mut snapshot = snapshot(vec![zoned("a", "x"), zoned("c", "y")], there);
        snapshot.set_namespace("red", [("team".to_owned(), "red".to_owned())].into());
        snapshot.set_namespace("blue", [("team".to_owned(), "blue".to_owned())].into());
        match decide(&snapshot, wants) {
            Decision::Assign(node) => node.as_str().to_owned(),
            Decision::Refuse(_) => String::new(),
        }
    };
    let selector = |team: &str| json!({"namespaceSelector": {"matchLabels": {"team": team}}});
    for (more, expect) in [
        (json!({}), ""),
        (selector("red"), "a"),
        (selector("blue"), "c"),
        (selector("green"), ""),
        (json!({"namespaces": ["blue"]}), "c"),
        // Named, or with such labels.
        (json!({"namespaces": ["default"], "namespaceSelector": {"matchLabels": {"team": "red"}}}), "a"),
        // Of no namespace at all, not of the pod's own.
        (json!({"namespaces": ["nowhere"]}), ""),
    ] {
        let there = vec![other("r", "a", "red", json!({})), other("b", "c", "blue", json!({}))];
        let wants = pod("p", json!({}), json!({"spec": in_namespaces("podAffinity", more.clone())}));
        assert_eq!(place(there, &wants), expect, "{more}");
    }
    // An empty selector is every namespace, also for what pods that are there want of new ones.
    for (more, expect) in
        [(json!({"namespaceSelector": {}}), "c"), (selector("red"), "a"), (selector("blue"), "c")]
    {
        let shy = other("s", "a", "red", in_namespaces("podAntiAffinity", more.clone()));
        let full = pod("q", json!({"cpu": "3"}), super::on("c"));
        let wants = other("p", "", "blue", json!({}));
        assert_eq!(place(vec![shy, full], &wants), expect, "{more}");
    }
}

/// One constraint on pods `app: web`, with a skew of 1 where it says nothing.
fn constraint(more: Value) -> Value {
    let mut constraint = json!({"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}});
    super::merge(&mut constraint, more);
    json!({"topologySpreadConstraints": [constraint]})
}

#[test]
fn nodes_that_are_in_a_domain() {
    let tainted = node(
        "d",
        json!({"metadata": {"labels": {"zone": "z"}}, "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}),
    );
    let there = || vec![labelled("1", "a", "web", json!({})), labelled("2", "c", "web", json!({}))];
    let place = |spec: Value| {
        let nodes = vec![zoned("a", "x"), zoned("c", "y"), tainted.clone(), node("e", json!({}))];
        match decide(&snapshot(nodes, there()), &labelled("p", "", "web", spec)) {
            Decision::Assign(node) => node.as_str().to_owned(),
            Decision::Refuse(refusal) => {
                refusal.message.split(". no new").next().unwrap_or_default().to_owned()
            }
        }
    };
    let refused = "0/4 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required \
                   label), 1 node(s) had untolerated taint(s), 2 node(s) didn't match pod topology spread constraints";
    // The tainted node's zone is empty, so the others have one too many.
    assert_eq!(place(constraint(json!({"topologyKey": "zone"}))), refused);
    assert_eq!(place(constraint(json!({"topologyKey": "zone", "nodeTaintsPolicy": "Ignore"}))), refused);
    assert_eq!(place(constraint(json!({"topologyKey": "zone", "nodeTaintsPolicy": "Honor"}))), "a");
    // Three domains are wanted and two count: nowhere may there be two.
    let wanted =
        |least: u64| json!({"topologyKey": "zone", "nodeTaintsPolicy": "Honor", "minDomains": least});
    assert_eq!(place(constraint(wanted(2))), "a");
    assert_eq!(place(constraint(wanted(3))), refused);
    // The zones that the pod's own selector leaves out count where the constraint says so.
    let chosen = |policy: &str| {
        let mut spec = constraint(json!({"topologyKey": "zone", "nodeAffinityPolicy": policy}));
        spec["nodeSelector"] = json!({"zone": "x"});
        spec
    };
    assert_eq!(place(chosen("Honor")), "a");
    assert!(place(chosen("Ignore")).starts_with("0/4"));
}

#[test]
fn nodes_without_a_label_are_in_no_domain() {
    // Node b has no rack, so its zone counts for nothing.
    let racked =
        |name: &str, zone: &str| node(name, json!({"metadata": {"labels": {"zone": zone, "rack": name}}}));
    let nodes = vec![racked("a", "x"), zoned("b", "y")];
    let one =
        |topology: &str| constraint(json!({"topologyKey": topology}))["topologySpreadConstraints"][0].clone();
    let spec = json!({"topologySpreadConstraints": [one("zone"), one("rack")]});
    let there = vec![labelled("1", "a", "web", json!({}))];
    let placed = decide(&snapshot(nodes, there), &labelled("p", "", "web", spec));
    assert_eq!(placed, Decision::Assign(crate::NodeName::new("a")));
}

//! Who has to go for a pod of higher priority, and from which node.

use super::*;
use crate::budgets::Budget;
use crate::{Candidate, NodeName, Preemption};

/// A pod on a node, of this priority and CPU, and started at that minute.
fn placed(name: &str, node: &str, priority: i64, cpu: &str, minute: u32) -> Pod {
    pod(
        name,
        json!({"cpu": cpu}),
        json!({
            "metadata": {"labels": {"app": name}},
            "spec": {"nodeName": node, "priority": priority},
            "status": {"startTime": format!("2026-01-01T00:{minute:02}:00Z")},
        }),
    )
}

fn preemptor(priority: i64, cpu: &str, more: Value) -> Pod {
    let mut all = json!({"metadata": {"labels": {"app": "preemptor"}}, "spec": {"priority": priority}});
    merge(&mut all, more);
    pod("preemptor", json!({"cpu": cpu}), all)
}

fn budget(app: &str, allowed: i64, disrupted: &[&str]) -> Budget {
    let disrupted: serde_json::Map<String, Value> =
        disrupted.iter().map(|name| ((*name).to_owned(), json!("2026-01-01T00:00:00Z"))).collect();
    Budget::read(&json!({
        "metadata": {"name": app, "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": app}}},
        "status": {"disruptionsAllowed": allowed, "disruptedPods": disrupted},
    }))
}

fn with_budgets(mut snapshot: Snapshot, budgets: Vec<Budget>) -> Snapshot {
    for (at, budget) in budgets.into_iter().enumerate() {
        snapshot.set_budget(client::Key::new("default", format!("b{at}")), budget);
    }
    snapshot
}

/// `node: victim victim`, or what preemption says.
fn outcome(snapshot: &Snapshot, pod: &Pod) -> String {
    match decide(snapshot, pod) {
        Decision::Assign(node) => format!("assigned to {node}"),
        Decision::Refuse(refusal) => match refusal.preemption {
            Preemption::Found(Candidate { node, victims, .. }) => {
                let names: Vec<&str> = victims.iter().map(|victim| victim.key.name.as_str()).collect();
                format!("{node}: {}", names.join(" "))
            }
            Preemption::Ineligible(why) => why.to_owned(),
            Preemption::Useless(_) => {
                refusal.message.split("preemption: ").nth(1).unwrap_or_default().to_owned()
            }
        },
    }
}

fn nodes(names: &[&str]) -> Vec<Node> {
    names.iter().map(|name| node(name, json!({}))).collect()
}

#[test]
fn the_least_important_go() {
    let there = || {
        vec![
            placed("old", "a", 1, "1", 1),
            placed("young", "a", 1, "1", 2),
            placed("higher", "a", 5, "1", 3),
            placed("equal", "a", 10, "1", 4),
        ]
    };
    let one = || snapshot(nodes(&["a"]), there());
    assert_eq!(outcome(&one(), &preemptor(10, "1", json!({}))), "a: young");
    assert_eq!(outcome(&one(), &preemptor(10, "2", json!({}))), "a: old young");
    assert_eq!(outcome(&one(), &preemptor(10, "3", json!({}))), "a: higher old young");
    // Nobody of its own priority.
    assert_eq!(
        outcome(&one(), &preemptor(10, "4", json!({}))),
        "0/1 nodes are available: 1 Insufficient cpu."
    );
    assert_eq!(
        outcome(&one(), &preemptor(1, "1", json!({}))),
        "0/1 nodes are available: 1 No preemption victims found for incoming pod."
    );
    assert_eq!(
        outcome(&one(), &preemptor(10, "1", json!({"spec": {"preemptionPolicy": "Never"}}))),
        "not eligible due to preemptionPolicy=Never."
    );
    // What makes no difference stays, also where a more important one has to go.
    let small = vec![placed("small", "a", 1, "100m", 1), placed("large", "a", 2, "3900m", 1)];
    assert_eq!(outcome(&snapshot(nodes(&["a"]), small), &preemptor(10, "2", json!({}))), "a: large");
}

#[test]
fn the_message_of_a_pod_for_which_others_go() {
    let there = vec![placed("low", "a", 1, "3", 1)];
    let cordoned = node("b", json!({"spec": {"unschedulable": true}}));
    let two = snapshot(vec![node("a", json!({})), cordoned], there);
    let Decision::Refuse(refusal) = decide(&two, &preemptor(10, "2", json!({}))) else {
        panic!("it is full")
    };
    assert_eq!(refusal.message, "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable.");
    let Decision::Refuse(refusal) = decide(&two, &preemptor(0, "2", json!({}))) else { panic!("it is full") };
    assert_eq!(
        refusal.message,
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable. no new claims to deallocate, \
         preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not \
         helpful for scheduling."
    );
}

#[test]
fn the_cheapest_node() {
    let full = |a: Vec<Pod>, b: Vec<Pod>| snapshot(nodes(&["a", "b"]), a.into_iter().chain(b).collect());
    let wants = || preemptor(100, "4", json!({}));
    for (why, a, b, expect) in [
        (
            "the lowest of the highest",
            vec![placed("a1", "a", 5, "4", 1)],
            vec![placed("b1", "b", 3, "2", 1), placed("b2", "b", 3, "2", 1)],
            "b: b1 b2",
        ),
        (
            "the smallest sum",
            vec![placed("a1", "a", 5, "2", 1), placed("a2", "a", 4, "2", 1)],
            vec![placed("b1", "b", 5, "2", 1), placed("b2", "b", 3, "2", 1)],
            "b: b1 b2",
        ),
        (
            "fewer of negative priority",
            vec![placed("a1", "a", -5, "2", 1), placed("a2", "a", -5, "2", 1)],
            vec![placed("b1", "b", -5, "4", 1)],
            "b: b1",
        ),
        (
            "the latest start of the most important",
            vec![placed("a1", "a", 5, "2", 1), placed("a2", "a", 4, "2", 9)],
            vec![placed("b1", "b", 5, "2", 2), placed("b2", "b", 4, "2", 1)],
            "b: b1 b2",
        ),
        (
            "the first of equals",
            vec![placed("a1", "a", 5, "4", 1)],
            vec![placed("b1", "b", 5, "4", 1)],
            "a: a1",
        ),
    ] {
        assert_eq!(outcome(&full(a, b), &wants()), expect, "{why}");
    }
}

#[test]
fn budgets_are_minded_first() {
    let there = || vec![placed("a1", "a", 1, "4", 1), placed("b1", "b", 50, "4", 1)];
    let wants = || preemptor(100, "4", json!({}));
    let two = |budgets| with_budgets(snapshot(nodes(&["a", "b"]), there()), budgets);
    assert_eq!(outcome(&two(vec![]), &wants()), "a: a1");
    assert_eq!(outcome(&two(vec![budget("a1", 0, &[])]), &wants()), "b: b1");
    assert_eq!(outcome(&two(vec![budget("a1", 1, &[])]), &wants()), "a: a1");
    // It was counted when its eviction was granted.
    assert_eq!(outcome(&two(vec![budget("a1", 0, &["a1"])]), &wants()), "a: a1");
    // Where there is no other way a budget is broken.
    assert_eq!(outcome(&two(vec![budget("a1", 0, &[]), budget("b1", 0, &[])]), &wants()), "a: a1");
    // On one node the protected one stays, even if it is the less important.
    let both = vec![placed("low", "a", 1, "2", 1), placed("high", "a", 5, "2", 1)];
    let one = with_budgets(snapshot(nodes(&["a"]), both), vec![budget("low", 0, &[])]);
    assert_eq!(outcome(&one, &preemptor(100, "2", json!({}))), "a: high");
    // A selector of everything is nobody's here.
    let all = Budget::read(&json!({"metadata": {"namespace": "default"}, "spec": {"selector": {}}}));
    assert_eq!(outcome(&two(vec![all]), &wants()), "a: a1");
}

#[test]
fn ports_neighbours_and_spread_are_looked_at_again() {
    let ports = json!({"spec": {"containers": [{"ports": [{"hostPort": 80}]}]}});
    let mut holder = json!({"spec": {"nodeName": "a", "priority": 1}});
    merge(&mut holder, ports.clone());
    let taken =
        snapshot(nodes(&["a"]), vec![pod("holder", json!({}), holder), placed("other", "a", 1, "1", 1)]);
    assert_eq!(outcome(&taken, &preemptor(10, "1", ports)), "a: holder");
    let term = |app: &str| json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": "kubernetes.io/hostname"});
    let anti = |app: &str| json!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term(app)]}}}});
    let there = || vec![placed("web", "a", 1, "1", 1), placed("other", "a", 1, "1", 2)];
    assert_eq!(outcome(&snapshot(nodes(&["a"]), there()), &preemptor(10, "1", anti("web"))), "a: web");
    let mut shy = anti("preemptor");
    merge(&mut shy, json!({"spec": {"nodeName": "a", "priority": 1}}));
    let there = vec![pod("shy", json!({"cpu": "1"}), shy), placed("other", "a", 1, "1", 2)];
    assert_eq!(outcome(&snapshot(nodes(&["a"]), there), &preemptor(10, "1", json!({}))), "a: shy");
    let spread = json!({"spec": {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"kind": "web"}}}]}, "metadata": {"labels": {"kind": "web"}}});
    let web = |name: &str, priority: i64| {
        pod(
            name,
            json!({"cpu": "1"}),
            json!({"metadata": {"labels": {"kind": "web"}}, "spec": {"nodeName": "a", "priority": priority}}),
        )
    };
    // Node b is empty of them but full of others as important.
    let full = placed("full", "b", 10, "4", 1);
    let there = vec![web("w1", 1), web("w2", 10), full, placed("other", "a", 1, "1", 1)];
    let uneven = snapshot(nodes(&["a", "b"]), there);
    assert_eq!(
        outcome(&uneven, &preemptor(10, "1", spread.clone())),
        "0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 node(s) didn't match pod topology \
         spread constraints."
    );
    let there = vec![web("w1", 1), placed("full", "b", 10, "4", 1), placed("other", "a", 1, "1", 1)];
    assert_eq!(outcome(&snapshot(nodes(&["a", "b"]), there), &preemptor(10, "1", spread)), "a: w1");
}

#[test]
fn a_promised_node_is_kept_free() {
    let nominated = preemptor(10, "3", json!({}));
    let mut two = snapshot(nodes(&["a", "b"]), vec![placed("b1", "b", 20, "2", 1)]);
    two.nominate(Arc::new(nominated.clone()), NodeName::new("a"));
    // Neither for the less nor for the equally important, but for those above.
    let other =
        |priority: i64, cpu: &str| pod("other", json!({"cpu": cpu}), json!({"spec": {"priority": priority}}));
    assert_eq!(outcome(&two, &other(1, "2")), "assigned to b");
    assert_eq!(outcome(&two, &other(10, "2")), "assigned to b");
    assert_eq!(outcome(&two, &other(11, "3")), "assigned to a");
    assert_eq!(
        outcome(&two, &other(10, "3")),
        "0/2 nodes are available: 2 No preemption victims found for incoming pod."
    );
    // The pod itself goes there, though b would do as well.
    assert_eq!(outcome(&two, &nominated), "assigned to a");
    let small = preemptor(10, "1", json!({}));
    two.nominate(Arc::new(small.clone()), NodeName::new("b"));
    assert_eq!(outcome(&two, &small), "assigned to b");
    // Once it is placed nothing is promised.
    two.place(Arc::new(small.placed(NodeName::new("b"))));
    assert!(two.nominations().of(&small.uid).is_none() && !two.withdraw(&small.uid));
}

#[test]
fn it_waits_for_those_who_go() {
    let going = |condition: &str| {
        let mut going = placed("going", "a", 1, "4", 1);
        let json = json!({
            "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": condition}]},
        });
        let read = pod("going", json!({"cpu": "4"}), json);
        (going.terminating, going.preempted) = (read.terminating, read.preempted);
        going
    };
    let wants = preemptor(10, "4", json!({}));
    let decided = |condition: &str, node: &str| {
        let there = vec![going(condition), placed("b1", "b", 5, "4", 1)];
        let mut two = snapshot(nodes(&["a", "b"]), there);
        two.nominate(Arc::new(wants.clone()), NodeName::new(node));
        outcome(&two, &wants)
    };
    let waits = "not eligible due to a terminating pod on the nominated node.";
    assert_eq!(decided("PreemptionByScheduler", "a"), waits);
    // For other reasons, and on other nodes, pods may go as they like.
    assert_eq!(decided("EvictionByEvictionAPI", "a"), "a: going");
    assert_eq!(decided("PreemptionByScheduler", "b"), "a: going");
    assert_eq!(decided("PreemptionByScheduler", "gone"), "a: going");
}

#[test]
fn a_trial_leaves_everything_as_it_was() {
    let term = |app: &str| json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": "zone"});
    let anti = |app: &str| json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term(app)]}}});
    let zoned = |name: &str, zone: &str| node(name, json!({"metadata": {"labels": {"zone": zone}}}));
    let mut shy = placed("shy", "b", 1, "1", 1);
    let read = preemptor(1, "1", json!({"metadata": {"labels": {"app": "shy"}}, "spec": anti("preemptor")}));
    shy.identity = read.identity;
    let web = placed("web", "a", 1, "4", 1);
    // It has to stay, so that there is a node where nothing helps.
    let mut stays = placed("stays", "c", 99, "4", 1);
    stays.identity = web.identity.clone();
    let there = vec![web, shy, stays, placed("low", "c", 1, "0", 1)];
    let nodes = vec![zoned("a", "x"), zoned("b", "y"), zoned("c", "z"), zoned("d", "x")];
    let mut cluster = snapshot(nodes, there);
    cluster.nominate(Arc::new(placed("promised", "", 50, "1", 1)), NodeName::new("a"));
    let mut wish = anti("web");
    wish["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}}]);
    let wants = preemptor(10, "1", json!({"spec": wish}));
    let mut neighbours = crate::neighbours::Neighbours::of(&wants, &cluster);
    let answers = |neighbours: &mut crate::neighbours::Neighbours<'_>| -> Vec<_> {
        let check = |(node, room): (&Node, &crate::Room)| {
            crate::filter::check(&wants, node, room, neighbours, cluster.nominations())
        };
        cluster.nodes().map(check).collect()
    };
    let before = answers(&mut neighbours);
    assert!(before.iter().all(Result::is_err), "{before:?}");
    let places: Vec<_> = cluster.nodes().collect();
    for _ in 0..3 {
        let found = crate::preemption::preempt(&wants, &cluster, &places, &mut neighbours, &mut |_| 0);
        assert!(matches!(found, Preemption::Found(_)), "{found:?}");
        assert_eq!(answers(&mut neighbours), before);
    }
}

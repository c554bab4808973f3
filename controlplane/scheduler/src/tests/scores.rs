//! Which of several nodes is taken, and why.

use super::*;
use crate::score::totals;
use crate::snapshot::Room;

fn check(snapshot: &Snapshot, pod: &Pod, expect: &str) {
    match decide(snapshot, pod) {
        Decision::Assign(node) => assert_eq!(node.as_str(), expect),
        Decision::Refuse(refusal) => panic!("{}", refusal.message),
    }
}

fn points(snapshot: &Snapshot, pod: &Pod) -> Vec<i64> {
    let candidates: Vec<(&Node, &Room)> = snapshot.nodes().collect();
    totals(pod, &candidates, snapshot)
}

#[test]
fn the_emptier_node() {
    let nodes = || vec![node("a", json!({})), node("b", json!({}))];
    let others = vec![pod("q", json!({"cpu": "2", "memory": "4Gi"}), on("a"))];
    let two = snapshot(nodes(), others);
    let small = pod("p", json!({"cpu": "1", "memory": "2Gi"}), json!({}));
    check(&two, &small, "b");
    // Taints tolerated 3 x 100; free 25 % and 75 %; balanced 100.
    assert_eq!(points(&two, &small), [300 + 25 + 100, 300 + 75 + 100]);
    // Pods that ask for nothing count as well.
    let idle = snapshot(nodes(), vec![pod("q", json!({}), on("a"))]);
    check(&idle, &pod("p", json!({}), json!({})), "b");
}

#[test]
fn the_balanced_node() {
    // Equally free on the whole, but a's memory would be used up before its CPU.
    let others = vec![
        pod("q", json!({"cpu": "0", "memory": "4Gi"}), on("a")),
        pod("r", json!({"cpu": "1", "memory": "2Gi"}), on("b")),
    ];
    let two = snapshot(vec![node("a", json!({})), node("b", json!({}))], others);
    check(&two, &pod("p", json!({"cpu": "1", "memory": "2Gi"}), json!({})), "b");
}

#[test]
fn the_untainted_node() {
    let taint = |key: &str| json!({"key": key, "effect": "PreferNoSchedule"});
    let nodes = vec![
        node("a", json!({"spec": {"taints": [taint("x"), taint("y")]}})),
        node("b", json!({"spec": {"taints": [taint("x")]}})),
    ];
    let two = snapshot(nodes, vec![]);
    check(&two, &pod("p", json!({}), json!({})), "b");
    let tolerant = json!({"spec": {"tolerations": [{"key": "y", "operator": "Exists"}, {"key": "x", "operator": "Exists"}]}});
    let scores = points(&two, &pod("p", json!({}), tolerant));
    assert_eq!(scores[0], scores[1]);
}

#[test]
fn the_preferred_node() {
    let nodes = vec![node("a", json!({"metadata": {"labels": {"disk": "ssd"}}})), node("b", json!({}))];
    let prefers = |operator: &str| {
        let term = json!({"matchExpressions": [{"key": "disk", "operator": operator}]});
        let preferred = json!([{"weight": 10, "preference": term}]);
        let affinity =
            json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}});
        pod("p", json!({}), json!({"spec": {"affinity": affinity}}))
    };
    let two = snapshot(nodes, vec![]);
    check(&two, &prefers("Exists"), "a");
    check(&two, &prefers("DoesNotExist"), "b");
}

fn replica(name: &str, set: &str, more: Value) -> Pod {
    let owner =
        json!({"metadata": {"ownerReferences": [{"kind": "ReplicaSet", "uid": set, "controller": true}]}});
    let mut all = owner;
    merge(&mut all, more);
    pod(name, json!({}), all)
}

#[test]
fn replicas_spread() {
    // b is emptier, but has a replica.
    let others =
        vec![pod("q", json!({"cpu": "500m", "memory": "1Gi"}), on("a")), replica("r1", "set", on("b"))];
    let two = snapshot(vec![node("a", json!({})), node("b", json!({}))], others);
    check(&two, &replica("r2", "set", json!({})), "a");
    check(&two, &replica("s1", "other", json!({})), "b");
}

#[test]
fn replicas_spread_over_zones() {
    let zone = |name: &str, zone: &str| {
        node(name, json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}}))
    };
    let nodes = vec![zone("a1", "a"), zone("a2", "a"), zone("b1", "b")];
    let two = snapshot(nodes, vec![replica("r1", "set", on("a1"))]);
    check(&two, &replica("r2", "set", json!({})), "b1");
}

#[test]
fn twelve_replicas_over_three_nodes() {
    for seed in 0..20_u64 {
        let mut cluster = snapshot(["a", "b", "c"].map(|name| node(name, json!({}))).into(), vec![]);
        let mut state = seed;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for number in 0..12 {
            let pod = replica(&format!("r{number}"), "set", json!({}));
            match plan(&cluster, &pod, &mut random) {
                Decision::Assign(node) => cluster.place(Arc::new(pod.placed(node))),
                Decision::Refuse(refusal) => panic!("{}", refusal.message),
            }
        }
        let counts: Vec<i64> = cluster.nodes().map(|(_, room)| room.pod_count()).collect();
        assert_eq!(counts, [4, 4, 4], "seed {seed}");
    }
}

#[test]
fn chance_decides_between_equals() {
    let three = snapshot(["a", "b", "c"].map(|name| node(name, json!({}))).into(), vec![]);
    let pod = pod("p", json!({}), json!({}));
    for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
        let decision = plan(&three, &pod, &mut |below| {
            assert_eq!(below, 3);
            number as u64
        });
        assert_eq!(decision, Decision::Assign(crate::NodeName::new(name)));
    }
}

/// The points of pod affinity and spread alone, unweighted: what differs from a pod without wishes.
fn difference(snapshot: &Snapshot, pod: &Pod, plain: &Pod) -> Vec<i64> {
    let (with, without) = (points(snapshot, pod), points(snapshot, plain));
    with.iter().zip(&without).map(|(with, without)| (with - without) / 2).collect()
}

fn zone(name: &str, zone: &str) -> Node {
    node(name, json!({"metadata": {"labels": {"zone": zone}}}))
}

fn app(name: &str, app: &str, more: Value) -> Pod {
    let mut all = json!({"metadata": {"labels": {"app": app}}});
    merge(&mut all, more);
    pod(name, json!({}), all)
}

fn term(app: &str, topology: &str) -> Value {
    json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": topology})
}

fn preferring(kind: &str, terms: &[(i64, Value)]) -> Value {
    let terms: Vec<Value> =
        terms.iter().map(|(weight, term)| json!({"weight": weight, "podAffinityTerm": term})).collect();
    json!({"spec": {"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": terms}}}})
}

#[test]
fn near_to_whom_it_prefers() {
    let three = || vec![zone("a", "x"), zone("b", "x"), zone("c", "y")];
    let there = vec![app("w", "web", on("a")), app("d", "db", on("c")), app("e", "db", on("c"))];
    let cluster = snapshot(three(), there);
    let plain = app("p", "p", json!({}));
    let wants = |kind: &str, terms: &[(i64, Value)]| app("p", "p", preferring(kind, terms));
    for (pod, expect) in [
        (wants("podAffinity", &[(10, term("web", "zone"))]), [100, 100, 0]),
        (wants("podAffinity", &[(10, term("web", "kubernetes.io/hostname"))]), [100, 0, 0]),
        (wants("podAntiAffinity", &[(10, term("web", "zone"))]), [0, 0, 100]),
        // Each pod counts: 2 x 10 for c, 15 for a and b.
        (wants("podAffinity", &[(15, term("web", "zone")), (10, term("db", "zone"))]), [0, 0, 100]),
        (
            wants("podAffinity", &[(10, term("web", "zone")), (5, term("web", "kubernetes.io/hostname"))]),
            [100, 66, 0],
        ),
        (wants("podAffinity", &[(10, term("nobody", "zone"))]), [0, 0, 0]),
        (wants("podAffinity", &[(10, term("web", "rack"))]), [0, 0, 0]),
    ] {
        assert_eq!(difference(&cluster, &pod, &plain), expect, "{:?}", pod.identity.affinity);
    }
    // Of another namespace there is nobody.
    let elsewhere = json!({"metadata": {"namespace": "other"}});
    let mut away = preferring("podAffinity", &[(10, term("web", "zone"))]);
    merge(&mut away, elsewhere);
    assert_eq!(difference(&cluster, &app("p", "p", away), &plain), [0, 0, 0]);
}

#[test]
fn near_to_who_prefers_it() {
    let nodes = || vec![zone("a", "x"), zone("b", "y")];
    let plain = || app("p", "p", json!({}));
    let stranger = || app("p", "stranger", json!({}));
    let there = |name: &str, node: &str, mut wish: Value| {
        merge(&mut wish, on(node));
        app(name, "web", wish)
    };
    let required = json!({"spec": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        term("p", "zone")]}}}});
    for (wish, expect) in [
        (preferring("podAffinity", &[(10, term("p", "zone"))]), [100, 0]),
        (preferring("podAntiAffinity", &[(10, term("p", "zone"))]), [0, 100]),
        (required, [100, 0]),
    ] {
        let cluster = snapshot(nodes(), vec![there("w", "a", wish.clone()), app("f", "f", on("b"))]);
        assert_eq!(difference(&cluster, &plain(), &stranger()), expect, "{wish}");
    }
}

fn anyway(topology: &str, skew: u64) -> Value {
    json!({"maxSkew": skew, "topologyKey": topology, "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app": "web"}}})
}

#[test]
fn spread_as_evenly_as_can_be() {
    let three = || vec![zone("a", "x"), zone("b", "x"), zone("c", "y")];
    let there = || vec![app("1", "web", on("a")), app("2", "web", on("a")), app("3", "web", on("c"))];
    let stated =
        |constraints: &[Value]| app("p", "web", json!({"spec": {"topologySpreadConstraints": constraints}}));
    let plain = app("p", "p", json!({}));
    for (constraints, expect) in [
        // Two domains weigh ln 4: 2.77 and 1.39, so 3 and 1.
        (vec![anyway("zone", 1)], [33, 33, 100]),
        // Three nodes weigh ln 5: 3.22, 0 and 1.61, so 3, 0 and 2.
        (vec![anyway("kubernetes.io/hostname", 1)], [0, 100, 33]),
        // The skew that is allowed makes them more alike: 7, 4 and 6.
        (vec![anyway("kubernetes.io/hostname", 5)], [57, 100, 71]),
        // Both: 6, 3 and 3.
        (vec![anyway("zone", 1), anyway("kubernetes.io/hostname", 1)], [50, 100, 100]),
        // Nobody has the label, so nobody gets points.
        (vec![anyway("rack", 1)], [0, 0, 0]),
    ] {
        let cluster = snapshot(three(), there());
        assert_eq!(difference(&cluster, &stated(&constraints), &plain), expect, "{constraints:?}");
    }
    // Nodes without the label get nothing, the others what they would.
    let cluster = snapshot(vec![zone("a", "x"), node("b", json!({})), zone("c", "y")], there());
    assert_eq!(difference(&cluster, &stated(&[anyway("zone", 1)]), &plain), [33, 0, 100]);
}

#[test]
fn stated_constraints_replace_the_defaults() {
    let two = || vec![zone("a", "x"), zone("b", "y")];
    let cluster = snapshot(two(), vec![replica("r1", "set", on("a"))]);
    let plain = pod("p", json!({}), json!({}));
    assert_eq!(difference(&cluster, &replica("r2", "set", json!({})), &plain), [66, 100]);
    let mut hard = anyway("zone", 1);
    hard["whenUnsatisfiable"] = "DoNotSchedule".into();
    let stated = json!({"spec": {"topologySpreadConstraints": [hard]}});
    assert_eq!(difference(&cluster, &replica("r2", "set", stated), &plain), [0, 0]);
}

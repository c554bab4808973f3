//! The compiler, against tables and against the evaluator.

mod changes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use client::Key;
use datapath::{ANYBODY, Allowed, Direction, Isolation, Ports};
use ipnet::IpNet;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::cluster::{Class, Cluster, Labels};
use super::evaluate::{End, Outcome, judge};
use super::opening::blocks;
use super::rule::Policy;
use super::*;

type Own = Vec<(Arc<Class>, Vec<IpAddr>)>;

/// What the datapath is to have, for who compares.
#[derive(Debug, PartialEq, Eq)]
struct Entries {
    subjects: BTreeMap<Arc<Class>, (u32, Isolation)>,
    allowed: BTreeSet<Allowed>,
    names: BTreeMap<IpNet, u32>,
}

impl Entries {
    fn of(compiler: &Compiler, own: &Own) -> Entries {
        let subject =
            |(class, _): &(Arc<Class>, Vec<IpAddr>)| Some((class.clone(), compiler.subject(class)?));
        Entries {
            subjects: own.iter().filter_map(subject).collect(),
            allowed: compiler.compiled.allowed().copied().collect(),
            names: compiler.compiled.names().clone(),
        }
    }
}

/// Everything comes, one after the other.
fn compile(cluster: &Cluster, own: &Own) -> Entries {
    let mut compiler = Compiler::default();
    for (at, pod) in cluster.pods.iter().enumerate() {
        let key = Key::new(&*pod.class.namespace, format!("{}-{at}", pod.name));
        compiler.set_pod(&key, Some(pod.clone()));
    }
    for (at, policy) in cluster.policies.iter().enumerate() {
        let key = Key::new(&*policy.namespace, format!("{}-{at}", policy.name));
        compiler.set_policy(&key, Some(policy.clone()));
    }
    for (name, labels) in &cluster.namespaces {
        compiler.set_namespace(name, Some(labels.clone()));
    }
    for (at, pod) in own.iter().enumerate() {
        compiler.set_own(&format!("kn{at}"), Some(pod.clone()));
    }
    Entries::of(&compiler, own)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn class(namespace: &str, labels: &[(&str, &str)], ports: &[(&str, u8, u16)]) -> Class {
    Class {
        namespace: namespace.to_owned(),
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ports: ports.iter().map(|(name, protocol, port)| ((*name).to_owned(), *protocol, *port)).collect(),
    }
}

fn pod(name: &str, class: Class, address: &str) -> Pod {
    Pod {
        name: name.to_owned(),
        uid: name.to_owned(),
        mirrors: String::new(),
        version: 1,
        class: Arc::new(class),
        addresses: vec![ip(address)],
        created: String::new(),
    }
}

fn policy(namespace: &str, spec: Value) -> Policy {
    Policy::read(&json!({"metadata": {"name": "p", "namespace": namespace}, "spec": spec}))
}

/// Namespaces a and b, and in each a web server and a client.
fn cluster(policies: Vec<Policy>) -> Cluster {
    let label = |team: &str| Labels::from([("team".to_owned(), team.to_owned())]);
    let web = |ns: &str| class(ns, &[("app", "web")], &[("dns", 17, 53), ("http", 6, 80)]);
    let client = |ns: &str| class(ns, &[("app", "client")], &[]);
    Cluster {
        policies,
        namespaces: [("a".to_owned(), label("x")), ("b".to_owned(), label("y"))].into(),
        pods: [
            pod("web", web("a"), "10.244.0.1"),
            pod("client", client("a"), "10.244.0.2"),
            pod("web", web("b"), "10.244.1.1"),
            pod("client", client("b"), "fd00::2"),
        ]
        .map(Arc::new)
        .to_vec(),
    }
}

/// What the programs would say: the longest prefix for the address, one lookup for it and one for anybody.
fn looked_up(
    compiled: &Entries,
    direction: Direction,
    subject: &Class,
    peer: IpAddr,
    protocol: u8,
    port: u16,
) -> bool {
    let (number, isolation) = compiled.subjects[subject];
    let isolated = if direction == Direction::Ingress { isolation.ingress } else { isolation.egress };
    if !isolated {
        return true;
    }
    let holds = |prefix: &&IpNet| prefix.contains(&peer);
    let name = compiled.names.keys().filter(holds).max_by_key(|prefix| prefix.prefix_len());
    let identity = name.map_or(ANYBODY, |prefix| compiled.names[prefix]);
    compiled.allowed.iter().any(|allowed| {
        let matches = match allowed.what {
            Ports::All => true,
            Ports::Of { protocol: of, first, bits } => {
                let mask = if bits == 0 { 0 } else { u16::MAX << (16 - bits) };
                of == protocol && port & mask == first & mask
            }
        };
        allowed.subject == number
            && allowed.direction == direction
            && (allowed.peer == identity || allowed.peer == ANYBODY)
            && matches
    })
}

fn says(outcome: &Outcome<'_>) -> bool {
    !matches!(outcome, Outcome::Denied(_))
}

/// Whether both say this of a packet between the first web server and somebody.
fn check(spec: Value, direction: Direction, peer: &str, protocol: u8, port: u16, expect: bool) {
    let cluster = cluster(vec![policy("a", spec.clone())]);
    let own: Vec<_> = cluster.pods.iter().map(|pod| (pod.class.clone(), pod.addresses.clone())).collect();
    let subject = &cluster.pods[0].class;
    let known = cluster.pods.iter().find(|pod| pod.addresses.contains(&ip(peer)));
    let end = End { address: ip(peer), class: known.map(|pod| &*pod.class) };
    let evaluated = says(&judge(&cluster, direction, subject, end, protocol, port));
    assert_eq!(evaluated, expect, "evaluated: {spec} {direction:?} {peer} {protocol} {port}");
    let compiled = compile(&cluster, &own);
    let found = looked_up(&compiled, direction, subject, ip(peer), protocol, port);
    assert_eq!(found, expect, "compiled: {spec} {direction:?} {peer} {protocol} {port}\n{compiled:#?}");
}

const NEAR: &str = "10.244.0.2";
const FAR_WEB: &str = "10.244.1.1";
const FAR: &str = "fd00::2";
const WORLD: &str = "198.51.100.7";

#[test]
fn default_deny_and_allow_all() {
    use Direction::{Egress, Ingress};
    let all = json!({"podSelector": {}});
    check(all.clone(), Ingress, NEAR, 6, 80, false);
    check(all.clone(), Egress, NEAR, 6, 80, true);
    check(json!({"podSelector": {}, "policyTypes": ["Egress"]}), Egress, WORLD, 6, 80, false);
    check(json!({"podSelector": {}, "policyTypes": ["Egress"]}), Ingress, WORLD, 6, 80, true);
    check(json!({"podSelector": {}, "ingress": [{}]}), Ingress, WORLD, 132, 9, true);
    check(json!({"podSelector": {"matchLabels": {"app": "other"}}}), Ingress, NEAR, 6, 80, true);
    let expression = json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["client"]}]}});
    check(expression, Ingress, NEAR, 6, 80, false);
}

#[test]
fn peers_are_pods_namespaces_and_blocks() {
    use Direction::{Egress, Ingress};
    let from = |peer: Value| json!({"podSelector": {}, "ingress": [{"from": [peer]}]});
    let client = json!({"matchLabels": {"app": "client"}});
    check(from(json!({"podSelector": client})), Ingress, NEAR, 6, 80, true);
    check(from(json!({"podSelector": client})), Ingress, FAR, 6, 80, false);
    check(from(json!({"podSelector": {}})), Ingress, FAR, 6, 80, false);
    let y = json!({"matchLabels": {"team": "y"}});
    check(from(json!({"namespaceSelector": y})), Ingress, FAR_WEB, 6, 80, true);
    check(from(json!({"namespaceSelector": y})), Ingress, NEAR, 6, 80, false);
    check(from(json!({"namespaceSelector": {}})), Ingress, FAR, 6, 80, true);
    check(from(json!({"namespaceSelector": {}})), Ingress, WORLD, 6, 80, false);
    check(from(json!({"namespaceSelector": y, "podSelector": client})), Ingress, FAR, 6, 80, true);
    check(from(json!({"namespaceSelector": y, "podSelector": client})), Ingress, FAR_WEB, 6, 80, false);
    let block = |cidr: &str, except: Value| json!({"ipBlock": {"cidr": cidr, "except": except}});
    check(from(block("198.51.100.0/24", json!([]))), Ingress, WORLD, 6, 80, true);
    check(from(block("198.51.100.0/24", json!(["198.51.100.0/28"]))), Ingress, WORLD, 6, 80, false);
    check(from(block("0.0.0.0/0", json!(["10.0.0.0/8"]))), Ingress, NEAR, 6, 80, false);
    check(from(block("0.0.0.0/0", json!(["10.0.0.0/8"]))), Ingress, FAR, 6, 80, false);
    check(from(block("10.244.1.1/32", json!([]))), Ingress, FAR_WEB, 6, 80, true);
    check(from(block("::/0", json!(["fd00::/64"]))), Ingress, "2001:db8::1", 6, 80, true);
    let overlap = json!({"podSelector": {}, "egress": [{"to": [block("10.244.0.0/16", json!(["10.244.1.0/24"])), block("10.244.1.1/32", json!([]))]}]});
    check(overlap.clone(), Egress, FAR_WEB, 6, 80, true);
    check(overlap.clone(), Egress, "10.244.1.2", 6, 80, false);
    check(overlap, Egress, NEAR, 6, 80, true);
}

#[test]
fn ports_are_numbers_ranges_and_names() {
    use Direction::{Egress, Ingress};
    let port = |port: Value| json!({"podSelector": {}, "ingress": [{"ports": [port]}]});
    check(port(json!({"port": 80})), Ingress, WORLD, 6, 80, true);
    check(port(json!({"port": 80})), Ingress, WORLD, 17, 80, false);
    check(port(json!({"protocol": "SCTP"})), Ingress, WORLD, 132, 7, true);
    for (number, expect) in [(79, false), (80, true), (4_000, true), (8_080, true), (8_081, false)] {
        check(port(json!({"port": 80, "endPort": 8080})), Ingress, WORLD, 6, number, expect);
    }
    check(port(json!({"port": "http"})), Ingress, WORLD, 6, 80, true);
    check(port(json!({"port": "http"})), Ingress, WORLD, 6, 81, false);
    check(port(json!({"port": "dns"})), Ingress, WORLD, 17, 53, false);
    check(port(json!({"port": "dns", "protocol": "UDP"})), Ingress, WORLD, 17, 53, true);
    // A name of egress is the receiver's.
    let to = json!({"podSelector": {}, "egress": [{"ports": [{"port": "http"}]}]});
    check(to.clone(), Egress, FAR_WEB, 6, 80, true);
    check(to.clone(), Egress, NEAR, 6, 80, false);
    check(to, Egress, WORLD, 6, 80, false);
    // Protocols without ports need a rule without ports.
    check(port(json!({"port": 80})), Ingress, WORLD, 1, 0, false);
}

#[test]
fn policies_add_up_and_numbers_stay() {
    let deny = policy("a", json!({"podSelector": {}}));
    let allow = policy(
        "a",
        json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"from": [{"podSelector": {}}]}]}),
    );
    let one = cluster(vec![deny.clone(), allow.clone()]);
    let own: Vec<_> = one.pods.iter().map(|pod| (pod.class.clone(), pod.addresses.clone())).collect();
    let compiled = compile(&one, &own);
    assert!(looked_up(&compiled, Direction::Ingress, &one.pods[0].class, ip(NEAR), 6, 80));
    assert!(!looked_up(&compiled, Direction::Ingress, &one.pods[0].class, ip(FAR), 6, 80));
    assert!(!looked_up(&compiled, Direction::Ingress, &one.pods[1].class, ip(FAR_WEB), 6, 80));
    assert!(compiled.subjects.values().all(|(number, _)| *number >= 256));
    // Another block changes nobody's subject, and only the names of addresses that it holds.
    let block = policy(
        "b",
        json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.244.1.0/24"}}]}]}),
    );
    let two = compile(&cluster(vec![deny, allow, block]), &own);
    let number = |compiled: &Entries, at: usize| compiled.subjects[&one.pods[at].class].0;
    assert_eq!((number(&compiled, 0), number(&compiled, 3)), (number(&two, 0), number(&two, 3)));
    let name = |compiled: &Entries, at: &str| compiled.names[&IpNet::from(ip(at))];
    assert_eq!(name(&compiled, NEAR), name(&two, NEAR));
    assert_ne!(name(&compiled, FAR_WEB), name(&two, FAR_WEB));
    assert_eq!(compile(&Cluster::default(), &own).allowed.len(), 0);
}

#[test]
fn two_pods_with_one_address_are_the_younger() {
    let mut cluster =
        cluster(vec![policy("a", json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]}))]);
    let own = vec![(cluster.pods[0].class.clone(), cluster.pods[0].addresses.clone())];
    let younger = Arc::make_mut(&mut cluster.pods[2]);
    younger.addresses = vec![ip(NEAR)];
    younger.created = "2026-01-02T00:00:00Z".to_owned();
    Arc::make_mut(&mut cluster.pods[1]).created = "2026-01-01T00:00:00Z".to_owned();
    let compiled = compile(&cluster, &own);
    assert!(!looked_up(&compiled, Direction::Ingress, &own[0].0, ip(NEAR), 6, 80), "of namespace b now");
}

#[test]
fn a_range_is_few_blocks() {
    for (first, last) in
        [(0, 65_535), (1, 65_535), (80, 80), (80, 8_080), (1, 2), (32_768, 65_535), (30_000, 32_767)]
    {
        let blocks = blocks(first, last);
        assert!(blocks.len() <= 30, "{first}-{last}: {}", blocks.len());
        let holds = |port: u16| {
            blocks.iter().any(|(at, bits)| {
                let mask = if *bits == 0 { 0 } else { u16::MAX << (16 - bits) };
                port & mask == at & mask
            })
        };
        for port in 0..=u16::MAX {
            assert_eq!(holds(port), (first..=last).contains(&port), "{first}-{last}: {port}");
        }
    }
}

#[test]
fn what_is_new_comes_before_what_is_old_goes() {
    let allowed = |peer| Allowed { subject: 300, peer, direction: Direction::Ingress, what: Ports::All };
    let net = |text: &str| text.parse::<IpNet>().unwrap();
    let observed = Observed {
        allowed: [allowed(1), allowed(2)].into(),
        names: [(net("10.0.0.1/32"), 7), (net("10.0.0.2/32"), 8)].into(),
    };
    let mut desired = Compiled::default();
    desired.count(allowed(2), true);
    desired.count(allowed(3), true);
    desired.set_name(net("10.0.0.1/32"), Some(9));
    let all = Changed::all(&desired, &observed);
    let (before, after) = plan(&desired, &observed, &all);
    assert_eq!(before, [Step::Allow(allowed(3)), Step::Name(net("10.0.0.1/32"), 9)]);
    assert_eq!(after, [Step::Withdraw(allowed(1)), Step::Unname(net("10.0.0.2/32"))]);
    // What has not changed is not looked at.
    assert_eq!(plan(&desired, &observed, &Changed::of(&after)), (vec![], after));
    let done = Observed { allowed: desired.allowed().copied().collect(), names: desired.names().clone() };
    assert_eq!(plan(&desired, &done, &all), (vec![], vec![]));
}

#[test]
fn an_entry_stays_as_long_as_there_is_a_reason() {
    let entry = Allowed { subject: 300, peer: 1, direction: Direction::Ingress, what: Ports::All };
    let mut compiled = Compiled::default();
    let mut count = |more: bool| {
        compiled.count(entry, more);
        (compiled.allows(&entry), !compiled.take_changed().allowed.is_empty())
    };
    assert_eq!(count(true), (true, true));
    assert_eq!(count(true), (true, false));
    assert_eq!(count(false), (true, false));
    assert_eq!(count(false), (false, true));
}

fn any_selector() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({})),
        "[xy]".prop_map(|value| json!({"matchLabels": {"k": value}})),
        ("(In|NotIn)", "[xy]").prop_map(
            |(operator, value)| json!({"matchExpressions": [{"key": "k", "operator": operator, "values": [value]}]})
        ),
        "(Exists|DoesNotExist)"
            .prop_map(|operator| json!({"matchExpressions": [{"key": "j", "operator": operator}]})),
    ]
}

fn any_peer() -> impl Strategy<Value = Value> {
    prop_oneof![
        any_selector().prop_map(|pods| json!({"podSelector": pods})),
        any_selector().prop_map(|namespaces| json!({"namespaceSelector": namespaces})),
        (any_selector(), any_selector())
            .prop_map(|(pods, namespaces)| json!({"podSelector": pods, "namespaceSelector": namespaces})),
        (0_u8..4, 24_u8..=32, 0_u8..8, proptest::bool::ANY).prop_map(|(third, bits, last, except)| {
            let cidr: IpNet = format!("10.0.{third}.{last}/{bits}").parse().unwrap();
            let inner: IpNet = format!("10.0.{third}.{last}/32").parse().unwrap();
            let except = if except && bits < 32 { vec![inner.to_string()] } else { vec![] };
            json!({"ipBlock": {"cidr": cidr.trunc().to_string(), "except": except}})
        }),
    ]
}

fn any_port() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0_u16..10, 0_u16..10)
            .prop_map(|(first, more)| json!({"port": first + 1, "endPort": first + 1 + more})),
        (1_u16..10).prop_map(|port| json!({"port": port, "protocol": "UDP"})),
        "(a|b)".prop_map(|name| json!({"port": name})),
        Just(json!({"protocol": "TCP"})),
    ]
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let rules = |peers: &'static str| {
        let rule = (proptest::collection::vec(any_peer(), 0..3), proptest::collection::vec(any_port(), 0..3));
        proptest::collection::vec(rule.prop_map(move |(to, ports)| json!({peers: to, "ports": ports})), 0..3)
    };
    ("[ab]", any_selector(), rules("from"), rules("to"), 1_u8..4).prop_map(
        |(namespace, pods, ingress, egress, types)| {
            let all = ["Ingress", "Egress"];
            let types: Vec<&str> = (0..2).filter(|bit| types & (1 << bit) != 0).map(|bit| all[bit]).collect();
            policy(
                &namespace,
                json!({"podSelector": pods, "ingress": ingress, "egress": egress, "policyTypes": types}),
            )
        },
    )
}

fn any_pod() -> impl Strategy<Value = Pod> {
    let ports = proptest::collection::vec(("(a|b)", 1_u16..10), 0..3);
    ("[ab]", proptest::option::of("[xy]"), proptest::option::of("[xy]"), ports, 0_u8..4, 0_u8..8).prop_map(
        |(namespace, k, j, ports, third, last)| {
            let labels = [("k", k), ("j", j)];
            let labels = labels.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
            let ports = ports.into_iter().map(|(name, port)| (name, 6, port)).collect();
            let class = Class { namespace, labels: labels.collect(), ports };
            pod("p", class, &format!("10.0.{third}.{last}"))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_datapath_says_what_policies_say(
        policies in proptest::collection::vec(any_policy(), 0..4),
        pods in proptest::collection::vec(any_pod(), 1..6),
        namespaces in proptest::collection::vec(proptest::option::of("[xy]"), 2),
    ) {
        // One address, one pod: which of two has it is another test's.
        let mut seen = std::collections::BTreeSet::new();
        let pods: Vec<Arc<Pod>> = pods.into_iter().filter(|pod| seen.insert(pod.addresses[0])).map(Arc::new).collect();
        let labels = |value: &Option<String>| value.iter().map(|v| ("k".to_owned(), v.clone())).collect::<Labels>();
        let namespaces = [("a".to_owned(), labels(&namespaces[0])), ("b".to_owned(), labels(&namespaces[1]))];
        let cluster = Cluster { policies, namespaces: namespaces.into(), pods };
        let own: Vec<_> = cluster.pods.iter().map(|pod| (pod.class.clone(), pod.addresses.clone())).collect();
        let compiled = compile(&cluster, &own);
        let strangers = ["10.0.1.7", "10.0.3.255", "192.0.2.1", "fd00::9"].map(ip);
        for pod in &cluster.pods {
            for direction in [Direction::Ingress, Direction::Egress] {
                let others = cluster.pods.iter().filter(|other| other.addresses != pod.addresses);
                let others = others.map(|other| End { address: other.addresses[0], class: Some(&other.class) });
                let strangers = strangers.iter().filter(|ip| !cluster.pods.iter().any(|p| p.addresses.contains(ip)));
                let strangers = strangers.map(|address| End { address: *address, class: None });
                for end in others.chain(strangers) {
                    for (protocol, port) in [(6, 1), (6, 5), (6, 9), (17, 5), (1, 0)] {
                        let wanted = says(&judge(&cluster, direction, &pod.class, end, protocol, port));
                        let found = looked_up(&compiled, direction, &pod.class, end.address, protocol, port);
                        prop_assert_eq!(found, wanted, "{:?} {:?} {:?} {} {}", direction, pod, end, protocol, port);
                    }
                }
            }
        }
    }
}

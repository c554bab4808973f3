//! The compiler, change by change: what it comes to, and how much is looked at for it.

use proptest::prelude::*;

use super::*;

const PODS_ELSEWHERE: usize = 10_000;
const APPLICATIONS: usize = 100;
const POLICIES: usize = 100;
/// Of the policies and pods above.
const NAMESPACES: usize = 10;

/// Something that happens.
#[derive(Clone, Debug)]
enum Change {
    Policy(usize, Option<Policy>),
    Namespace(usize, Option<Labels>),
    Pod(usize, Option<Pod>),
    Own(usize, Option<(Arc<Class>, Vec<IpAddr>)>),
}

/// What there is after all that happened.
#[derive(Debug, Default)]
struct There {
    policies: BTreeMap<Key, Policy>,
    namespaces: BTreeMap<String, Labels>,
    pods: BTreeMap<Key, Arc<Pod>>,
    own: BTreeMap<String, (Arc<Class>, Vec<IpAddr>)>,
}

fn set<K: Ord, V: Clone>(map: &mut BTreeMap<K, V>, key: K, value: Option<&V>) {
    match value {
        Some(value) => drop(map.insert(key, value.clone())),
        None => drop(map.remove(&key)),
    }
}

impl There {
    /// Remembers it, and tells the compiler.
    fn happen(&mut self, change: Change, compiler: &mut Compiler) {
        let namespace = |at: usize| if at.is_multiple_of(2) { "a" } else { "b" };
        let key = |at: usize| Key::new(namespace(at), at.to_string());
        match change {
            Change::Policy(at, policy) => {
                let policy = policy.map(|policy| Policy { namespace: namespace(at).to_owned(), ..policy });
                set(&mut self.policies, key(at), policy.as_ref());
                compiler.set_policy(&key(at), policy);
            }
            Change::Namespace(at, labels) => {
                set(&mut self.namespaces, namespace(at).to_owned(), labels.as_ref());
                compiler.set_namespace(namespace(at), labels);
            }
            Change::Pod(at, pod) => {
                let pod = pod.map(|pod| {
                    let class = Class { namespace: namespace(at).to_owned(), ..(*pod.class).clone() };
                    Arc::new(Pod { name: at.to_string(), class: Arc::new(class), ..pod })
                });
                set(&mut self.pods, key(at), pod.as_ref());
                compiler.set_pod(&key(at), pod);
            }
            Change::Own(at, pod) => {
                set(&mut self.own, at.to_string(), pod.as_ref());
                compiler.set_own(&at.to_string(), pod);
            }
        }
    }

    /// From nothing, in another order.
    fn anew(&self, mut compiler: Compiler) -> Compiler {
        self.policies.iter().for_each(|(key, policy)| compiler.set_policy(key, Some(policy.clone())));
        self.own.iter().rev().for_each(|(link, pod)| compiler.set_own(link, Some(pod.clone())));
        self.pods.iter().rev().for_each(|(key, pod)| compiler.set_pod(key, Some(pod.clone())));
        self.namespaces.iter().for_each(|(name, labels)| compiler.set_namespace(name, Some(labels.clone())));
        compiler
    }

    fn own(&self) -> Own {
        self.own.values().cloned().collect()
    }
}

fn any_change() -> impl Strategy<Value = Change> {
    let maybe = proptest::option::weighted(0.7, any_policy());
    let labels = proptest::option::of("[xy]").prop_map(|value| value.map(|value| ("k".to_owned(), value)));
    let labels =
        proptest::option::weighted(0.8, labels.prop_map(|label| label.into_iter().collect::<Labels>()));
    // Few addresses, so that several pods have one, and some with a second one.
    let pod = (any_pod(), 0_u8..4, 0_u8..3, 0_u64..3, any::<bool>()).prop_map(
        |(pod, last, created, version, dual)| {
            let mut addresses = vec![ip(&format!("10.0.1.{last}"))];
            addresses.extend(dual.then(|| ip(&format!("fd00::{last}"))));
            Pod { addresses, version, created: created.to_string(), ..pod }
        },
    );
    let own = any_pod().prop_map(|pod| (pod.class, pod.addresses));
    prop_oneof![
        3 => (0_usize..4, maybe).prop_map(|(at, policy)| Change::Policy(at, policy)),
        1 => (0_usize..2, labels).prop_map(|(at, labels)| Change::Namespace(at, labels)),
        3 => (0_usize..8, proptest::option::weighted(0.7, pod)).prop_map(|(at, pod)| Change::Pod(at, pod)),
        2 => (0_usize..3, proptest::option::weighted(0.7, own)).prop_map(|(at, own)| Change::Own(at, own)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn change_by_change_is_as_from_nothing(
        changes in proptest::collection::vec(any_change(), 1..40),
        narrow in any::<bool>(),
    ) {
        let empty = || if narrow { Compiler::narrow() } else { Compiler::default() };
        let (mut compiler, mut there, mut observed) = (empty(), There::default(), Observed::default());
        for change in changes {
            there.happen(change, &mut compiler);
            let anew = there.anew(empty());
            let own = there.own();
            prop_assert_eq!(Entries::of(&compiler, &own), Entries::of(&anew, &own));
            prop_assert_eq!(compiler.identities(), anew.identities());
            // Whoever does what is said to have changed has all of it.
            let changed = compiler.compiled.take_changed();
            let (before, after) = plan(&compiler.compiled, &observed, &changed);
            for step in before.into_iter().chain(after) {
                match step {
                    Step::Allow(allowed) => prop_assert!(observed.allowed.insert(allowed)),
                    Step::Withdraw(allowed) => prop_assert!(observed.allowed.remove(&allowed)),
                    Step::Name(prefix, number) => observed.names.extend([(prefix, number)]),
                    Step::Unname(prefix) => prop_assert!(observed.names.remove(&prefix).is_some()),
                }
            }
            let all = Changed::all(&compiler.compiled, &observed);
            prop_assert_eq!(plan(&compiler.compiled, &observed, &all), (vec![], vec![]));
            for address in compiler.take_reassigned() {
                prop_assert_eq!(compiler.pod_at(address), anew.pod_at(address));
            }
        }
        compiler.forget_cluster();
        there.policies.keys().for_each(|key| compiler.set_policy(key, None));
        there.own.keys().for_each(|link| compiler.set_own(link, None));
        prop_assert!(compiler.is_empty(), "{:?}", compiler);
    }
}

/// Pods elsewhere of so many applications, and policies whose peers are in their own namespace, by namespace, and anybody.
fn large() -> Compiler {
    let mut compiler = Compiler::default();
    for namespace in (0..NAMESPACES).map(|at| format!("n{at}")) {
        compiler.set_namespace(&namespace, Some([("name".to_owned(), namespace.clone())].into()));
    }
    for at in 0..POLICIES {
        let namespace = format!("n{}", at % NAMESPACES);
        let other = json!({"matchLabels": {"name": format!("n{}", (at + 1) % NAMESPACES)}});
        let spec = json!({
            "podSelector": {"matchLabels": {"app": format!("a{at}")}},
            "ingress": [{"from": [{"podSelector": {}}, {"namespaceSelector": other}], "ports": [{"port": 80}]}],
            "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}], "policyTypes": ["Ingress", "Egress"]});
        compiler.set_policy(&Key::new(&*namespace, format!("p{at}")), Some(policy(&namespace, spec)));
    }
    for at in 0..PODS_ELSEWHERE {
        let (key, pod) = elsewhere(at);
        compiler.set_pod(&key, Some(pod));
    }
    compiler.compiled.take_changed();
    compiler.take_reassigned();
    compiler
}

fn elsewhere(at: usize) -> (Key, Arc<Pod>) {
    let application = at % APPLICATIONS;
    let (namespace, app) = (format!("n{}", application % NAMESPACES), format!("a{application}"));
    let address = format!("10.{}.{}.{}", 1 + (at >> 16), (at >> 8) & 255, at & 255);
    let pod = pod(&format!("e{at}"), class(&namespace, &[("app", &app)], &[]), &address);
    (Key::new(namespace, format!("e{at}")), Arc::new(pod))
}

/// Selectors asked and entries to look at for it.
fn costs(compiler: &mut Compiler, change: impl FnOnce(&mut Compiler)) -> (u64, usize) {
    let before = compiler.asked();
    change(compiler);
    let changed = compiler.compiled.take_changed();
    (compiler.asked() - before, changed.allowed.len() + changed.names.len())
}

#[test]
fn a_change_costs_what_it_changes() {
    let mut compiler = large();
    // Peers of its own namespace, those by namespace, and the policies of its namespace.
    let policies = POLICIES as u64;
    let own = |labels: &[(&str, &str)], address: &str| {
        Some((Arc::new(class("n0", labels, &[])), vec![ip(address)]))
    };
    let (asked, entries) = costs(&mut compiler, |c| c.set_own("kn0", own(&[("app", "new")], "10.9.0.1")));
    assert!(asked <= policies && entries == 1, "a pod here of an unknown application: {asked}, {entries}");
    let peers = 2 * APPLICATIONS / NAMESPACES;
    let (asked, entries) = costs(&mut compiler, |c| c.set_own("kn1", own(&[("app", "a0")], "10.9.0.2")));
    assert!(asked <= policies, "a pod here: {asked}");
    assert!((peers..=peers + 4).contains(&entries), "its peers, not their pods: {entries}");
    let (asked, entries) = costs(&mut compiler, |c| c.set_own("kn2", own(&[("app", "a0")], "10.9.0.3")));
    assert_eq!((asked, entries), (0, 1), "another one of the same application");
    let (key, pod) = elsewhere(PODS_ELSEWHERE);
    let (asked, entries) = costs(&mut compiler, |c| c.set_pod(&key, Some(pod)));
    assert_eq!((asked, entries), (0, 1), "a pod elsewhere of a known application");
    let new = Pod {
        class: Arc::new(class("n0", &[("app", "newer")], &[])),
        ..(*elsewhere(PODS_ELSEWHERE).1).clone()
    };
    let (asked, entries) = costs(&mut compiler, |c| c.set_pod(&key, Some(Arc::new(new))));
    assert!(asked <= policies && entries == 2, "it becomes another one's: {asked}, {entries}");
    let (asked, entries) = costs(&mut compiler, |c| c.set_pod(&key, None));
    assert_eq!((asked, entries), (0, 2), "it goes");
    let labels: Labels = [("name".to_owned(), "n2".to_owned())].into();
    let (asked, _) = costs(&mut compiler, |c| c.set_namespace("n1", Some(labels)));
    let of_namespace = (APPLICATIONS / NAMESPACES) as u64;
    assert!(asked <= of_namespace * policies, "a namespace has other labels: {asked}");
    let spec =
        json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "a0"}}}]}]});
    let (asked, _) = costs(&mut compiler, |c| c.set_policy(&Key::new("n0", "new"), Some(policy("n0", spec))));
    assert!(asked <= of_namespace + 10, "a policy comes: {asked}");
    let (asked, _) = costs(&mut compiler, |c| c.set_policy(&Key::new("n0", "new"), None));
    assert_eq!(asked, 0, "a policy goes");
}

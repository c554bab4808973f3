//! Plans as tables, and a property: whatever comes after whatever, steps converge and never cut.

use std::collections::HashMap;

use client::Key;
use datapath::Scope;
use proptest::prelude::*;

use super::*;
use crate::desired::{Lead, PortId};

fn frontend(address: u8, transport: Transport) -> Frontend {
    Frontend { address: [10, 96, 0, address].into(), port: 80, transport, scope: Scope::Cluster }
}

fn backends(last: &[u8]) -> Vec<Backend> {
    last.iter().map(|last| ([10, 1, 0, *last], 8080).into()).collect()
}

/// A port of these frontends (by their last number), all with the same backends.
fn port(number: u32, transport: Transport, addresses: &[u8], last: &[u8], affinity: Option<u32>) -> Numbered {
    let leads = addresses.iter().map(|address| Lead {
        frontend: frontend(*address, transport),
        backends: backends(last),
        affinity_seconds: affinity,
        traffic: Traffic::default(),
    });
    let id = PortId { service: Key::new("n", "s"), name: number.to_string(), transport };
    Numbered { number, port: DesiredPort { id, leads: leads.collect(), sources: BTreeSet::new() } }
}

/// The maps as a model: what [`crate::execute`] does to the real ones.
#[derive(Clone, Default)]
struct Model {
    observed: Observed,
    next: u32,
}

impl Model {
    /// Executes a plan; looks at the maps after every single change.
    fn run(&mut self, steps: &[Step], mut look: impl FnMut(&Observed)) {
        let mut new = Vec::new();
        for step in steps {
            match step {
                Step::Install(backends, table) => {
                    self.next += 1;
                    let count = u32::try_from(backends.len()).unwrap();
                    let id = SetId { number: self.next, count };
                    self.observed.installed(id, backends.clone(), *table);
                    new.push(id);
                }
                Step::Point { frontend, aim } => {
                    let set = match aim.target {
                        Target::Nothing => None,
                        Target::Known(set) => Some(set),
                        Target::New(index) => Some(new[index]),
                    };
                    self.observed.pointed(*frontend, aim.service(set));
                }
                Step::Remove(frontend) => self.observed.removed(frontend),
                Step::Retire(set) => self.observed.erased(set),
                Step::Admit(number, range) => self.observed.admitted(*number, *range),
                Step::Expel(number, range) => self.observed.expelled(*number, *range),
                Step::Forget(_) => {}
            }
            look(&self.observed);
        }
    }

    fn leads(&self, frontend: &Frontend) -> Option<Vec<Backend>> {
        let service = self.observed.frontend(frontend)?;
        Some(service.set.map_or_else(Vec::new, |set| {
            self.observed.backends(&set).expect("a frontend leads to a whole set").to_vec()
        }))
    }
}

fn words(steps: &[Step]) -> String {
    let word = |step: &Step| match step {
        Step::Install(backends, false) => format!("install {}", backends.len()),
        Step::Install(backends, true) => format!("install {} with a table", backends.len()),
        Step::Admit(number, range) => format!("admit {range} to {number}"),
        Step::Expel(number, range) => format!("expel {range} from {number}"),
        Step::Point { aim, .. } => match aim.target {
            Target::Nothing => "refuse".into(),
            Target::Known(_) => "point known".into(),
            Target::New(index) => format!("point {index}"),
        },
        Step::Remove(_) => "remove".into(),
        Step::Retire(_) => "retire".into(),
        Step::Forget(backend) => format!("forget {}", backend.ip()),
    };
    steps.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// One Service as it is and as it shall be; frontends that it no longer has are given by number.
#[track_caller]
fn check(before: &[Numbered], after: &[Numbered], gone: &[u8], expect: &str) {
    let mut model = Model::default();
    model.run(&plan(before, &[], &Observed::default()), |_| {});
    let transport = before.first().map_or(Transport::Tcp, |numbered| numbered.port.id.transport);
    let gone: Vec<Frontend> = gone.iter().map(|address| frontend(*address, transport)).collect();
    let steps = plan(after, &gone, &model.observed);
    assert_eq!(words(&steps), expect);
    model.run(&steps, |_| {});
    assert_eq!(plan(after, &gone, &model.observed), [], "once is enough");
    assert_eq!(leftovers(&model.observed, |frontend| frontends(after).any(|f| f == frontend)), []);
}

#[test]
fn clients_are_admitted_before_and_expelled_after() {
    let ranges = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<BTreeSet<IpNet>>();
    let with = |texts: &[&str]| {
        let mut port = port(7, Transport::Tcp, &[1], &[1], None);
        port.port.sources = ranges(texts);
        port.port.leads[0].traffic.sources = !texts.is_empty();
        port
    };
    let mut observed = Observed::default();
    observed.admitted(7, "10.0.0.0/8".parse().unwrap());
    let steps = plan(&[with(&["192.0.2.0/24"])], &[], &observed);
    let admitted = steps.iter().position(|step| matches!(step, Step::Admit(7, _)));
    let pointed = steps.iter().position(|step| matches!(step, Step::Point { .. }));
    let expelled = steps.iter().position(|step| matches!(step, Step::Expel(7, _)));
    assert!(admitted < pointed && pointed < expelled, "{steps:?}");
    assert!(admitted.is_some() && expelled.is_some(), "{steps:?}");
    // A port that goes takes its ranges along, and so does one that nobody knows any more.
    let gone = frontend(1, Transport::Tcp);
    let service = Service { number: 7, set: None, affinity_seconds: None, traffic: Traffic::default() };
    observed.pointed(gone, service);
    assert!(plan(&[], &[gone], &observed).contains(&Step::Expel(7, "10.0.0.0/8".parse().unwrap())));
    observed.removed(&gone);
    assert_eq!(leftovers(&observed, |_| true), [Step::Expel(7, "10.0.0.0/8".parse().unwrap())]);
}

#[test]
fn only_what_differs() {
    use Transport::{Tcp, Udp};
    let one = |last: &[u8]| [port(1, Tcp, &[1, 2], last, None)];
    check(&[], &one(&[1, 2]), &[], "install 2, point 0, point 0");
    check(&[], &one(&[]), &[], "refuse, refuse");
    check(&one(&[1, 2]), &one(&[1, 2]), &[], "");
    check(&one(&[1, 2]), &one(&[1, 3]), &[], "install 2, point 0, point 0, retire");
    check(&one(&[1]), &one(&[]), &[], "refuse, refuse, retire");
    check(&one(&[1]), &[port(1, Tcp, &[1], &[1], None)], &[2], "remove");
    check(&one(&[1]), &[port(1, Tcp, &[1, 2, 3], &[1], None)], &[], "point known");
    check(&one(&[1]), &[port(1, Tcp, &[1, 2], &[1], Some(60))], &[], "point known, point known");
    check(&one(&[1]), &[], &[1, 2], "remove, remove, retire");
    let udp = |last: &[u8]| [port(1, Udp, &[1], last, None)];
    check(&udp(&[1, 2]), &udp(&[2, 3]), &[], "install 2, point 0, retire, forget 10.1.0.1");
    check(&udp(&[1, 2]), &[], &[1], "remove, retire, forget 10.1.0.1, forget 10.1.0.2");
}

#[test]
fn a_restart_adopts_what_is_right() {
    let desired = [port(7, Transport::Tcp, &[1, 2], &[1, 2], None)];
    // The kernel's order is its own, and a set was written that nobody came to lead to.
    let (used, unused) = (SetId { number: 3, count: 2 }, SetId { number: 4, count: 1 });
    let service = Service { number: 7, set: Some(used), affinity_seconds: None, traffic: Traffic::default() };
    let there = [1, 2, 9].map(|address| (frontend(address, Transport::Tcp), service));
    let observed = Observed::new(there, [(used, backends(&[2, 1])), (unused, backends(&[5]))]);
    assert_eq!(plan(&desired, &[], &observed), []);
    let left = leftovers(&observed, |frontend| frontends(&desired).any(|f| f == frontend));
    assert_eq!(words(&left), "remove, retire");
    // A set that was half written is not used.
    let half = Observed::new(there, [(used, backends(&[2]))]);
    assert_eq!(words(&plan(&desired, &[], &half)), "install 2, point 0, point 0");
}

/// A few services (by number) of a few ports, frontends, and backends.
fn states() -> impl Strategy<Value = Vec<Vec<(u8, Vec<u8>, bool)>>> {
    let backends = proptest::collection::btree_set(0_u8..5, 0..4);
    let port = (0_u8..6, backends, any::<bool>());
    let port = port.prop_map(|(address, set, sticky)| (address, set.into_iter().collect(), sticky));
    proptest::collection::vec(proptest::collection::vec(port, 0..4), 1..12)
}

proptest! {
    #[test]
    fn converges_without_a_gap(states in states()) {
        let mut model = Model::default();
        let mut held: Vec<Frontend> = Vec::new();
        for state in states {
            let mut wanted: HashMap<u8, (Vec<u8>, bool)> = HashMap::new();
            for (address, backends, sticky) in state {
                wanted.entry(address).or_insert((backends, sticky));
            }
            let desired: Vec<Numbered> = wanted.iter().map(|(address, (backends, sticky))| {
                let transport = if address % 2 == 0 { Transport::Tcp } else { Transport::Udp };
                port(u32::from(*address) + 1, transport, &[*address], backends, sticky.then_some(9))
            }).collect();
            let now: Vec<Frontend> = frontends(&desired).copied().collect();
            let gone: Vec<Frontend> = held.iter().copied().filter(|f| !now.contains(f)).collect();
            let steps = plan(&desired, &gone, &model.observed);
            let before = model.clone();
            let leads: HashMap<Frontend, Vec<Backend>> = desired.iter().flat_map(|n| &n.port.leads)
                .map(|lead| (lead.frontend, lead.backends.clone())).collect();
            model.run(&steps, |observed| {
                for (frontend, service) in observed.frontends() {
                    if let Some(set) = service.set {
                        assert!(observed.backends(&set).is_some(), "half a set");
                    }
                    let had = before.leads(frontend).is_some_and(|had| !had.is_empty());
                    let shall = leads.get(frontend).is_some_and(|shall| !shall.is_empty());
                    assert!(!had || !shall || service.set.is_some(), "refused in between");
                }
                for frontend in leads.keys().filter(|frontend| before.leads(frontend).is_some()) {
                    assert!(observed.frontend(frontend).is_some(), "missing in between");
                }
            });
            for (frontend, backends) in &leads {
                let led = model.leads(frontend);
                prop_assert_eq!(led.as_ref(), Some(backends));
            }
            prop_assert_eq!(model.observed.frontends().count(), leads.len());
            prop_assert!(leftovers(&model.observed, |f| leads.contains_key(f)).is_empty());
            held = now;
        }
    }
}

//! From policies, namespaces and pods to the entries of the datapath. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use datapath::{ANYBODY, Allowed, Direction, Isolation, Ports};
use ipnet::IpNet;

use super::cluster::{Class, Cluster, Pod};
use super::evaluate::is_selected;
use super::number::{Identity, number};
use super::rule::{Peer, Rule, Which};

/// What the datapath should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// Subjects of this node: number and isolation.
    pub subjects: BTreeMap<Arc<Class>, (u32, Isolation)>,
    pub allowed: BTreeSet<Allowed>,
    pub names: BTreeMap<IpNet, u32>,
}

impl Compiled {
    /// How many different ones there are.
    pub fn identities(&self) -> usize {
        let subjects = self.subjects.values().map(|(number, _)| *number).filter(|number| *number != 0);
        subjects.chain(self.names.values().copied()).collect::<BTreeSet<u32>>().len()
    }
}

/// `own` are the pods of this node with the addresses that the plugin gave them.
pub fn compile(cluster: &Cluster, own: &[(Arc<Class>, Vec<IpAddr>)]) -> Compiled {
    if cluster.policies.is_empty() {
        // Nobody is isolated, so nobody need be known.
        let free = |(class, _): &(Arc<Class>, Vec<IpAddr>)| (class.clone(), (0, Isolation::default()));
        return Compiled { subjects: own.iter().map(free).collect(), ..Compiled::default() };
    }
    let prefixes: BTreeSet<IpNet> = cluster.policies.iter().flat_map(|policy| policy.prefixes()).collect();
    let addresses = addresses(cluster, own, &prefixes);
    let mut identities: BTreeSet<Identity> = addresses.known.keys().cloned().collect();
    identities.extend(prefixes.iter().map(|prefix| Identity { class: None, prefix: Some(*prefix) }));
    identities.extend(own.iter().map(|(class, _)| subject(class)));
    let numbers = number(&identities);
    let mut names: BTreeMap<IpNet, u32> = prefixes
        .iter()
        .map(|prefix| (*prefix, numbers[&Identity { class: None, prefix: Some(*prefix) }]))
        .collect();
    names.extend(addresses.numbered(&numbers));
    let mut maker = Maker { cluster, numbers: &numbers, peers: HashMap::new(), allowed: BTreeSet::new() };
    let mut subjects = BTreeMap::new();
    for (class, _) in own {
        if !subjects.contains_key(class) {
            let number = numbers[&subject(class)];
            subjects.insert(class.clone(), (number, maker.subject(class, number)));
        }
    }
    Compiled { subjects, allowed: maker.allowed, names }
}

/// The identity by which policies are entered for a pod: it does not change with the prefixes of others.
fn subject(class: &Arc<Class>) -> Identity {
    Identity { class: Some(class.clone()), prefix: None }
}

/// Whose each address is. Many pods are of one identity, and comparing two costs.
#[derive(Default)]
struct Addresses {
    /// Each with its place.
    known: HashMap<Identity, usize>,
    /// The place of an address's identity.
    places: HashMap<IpAddr, usize>,
}

/// Two pods with one address: the younger has it, and a pod of this node before all others.
fn addresses(cluster: &Cluster, own: &[(Arc<Class>, Vec<IpAddr>)], prefixes: &BTreeSet<IpNet>) -> Addresses {
    let mut owners: HashMap<IpAddr, &Pod> = HashMap::with_capacity(cluster.pods.len());
    let age = |pod: &Pod| (pod.created.clone(), pod.version);
    for pod in &cluster.pods {
        for address in &pod.addresses {
            let owner = owners.entry(*address).or_insert(pod);
            if !std::ptr::eq(*owner, &**pod) && age(owner) <= age(pod) {
                *owner = pod;
            }
        }
    }
    let mut classes: HashMap<IpAddr, &Arc<Class>> =
        owners.into_iter().map(|(address, pod)| (address, &pod.class)).collect();
    classes.extend(own.iter().flat_map(|(class, all)| all.iter().map(move |address| (*address, class))));
    let lengths = Lengths::of(prefixes);
    let mut all = Addresses::default();
    for (address, class) in classes {
        let prefix = lengths.longest(prefixes, address);
        let identity = Identity { class: Some(class.clone()), prefix };
        let next = all.known.len();
        let place = *all.known.entry(identity).or_insert(next);
        all.places.insert(address, place);
    }
    all
}

impl Addresses {
    fn numbered(&self, numbers: &BTreeMap<&Identity, u32>) -> impl Iterator<Item = (IpNet, u32)> + use<'_> {
        let mut by_place = vec![0; self.known.len()];
        for (identity, place) in &self.known {
            by_place[*place] = numbers[identity];
        }
        self.places.iter().map(move |(address, place)| (IpNet::from(*address), by_place[*place]))
    }
}

/// The lengths that prefixes have, the longest first.
struct Lengths {
    v4: Vec<u8>,
    v6: Vec<u8>,
}

impl Lengths {
    fn of(prefixes: &BTreeSet<IpNet>) -> Lengths {
        let of = |ipv4: bool| {
            let family = prefixes.iter().filter(|prefix| prefix.addr().is_ipv4() == ipv4);
            let lengths: BTreeSet<u8> = family.map(IpNet::prefix_len).collect();
            lengths.into_iter().rev().collect()
        };
        Lengths { v4: of(true), v6: of(false) }
    }

    fn longest(&self, prefixes: &BTreeSet<IpNet>, address: IpAddr) -> Option<IpNet> {
        let lengths = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        lengths.iter().find_map(|bits| {
            let prefix = IpNet::new(address, *bits).ok()?.trunc();
            prefixes.contains(&prefix).then_some(prefix)
        })
    }
}

struct Maker<'a> {
    cluster: &'a Cluster,
    numbers: &'a BTreeMap<&'a Identity, u32>,
    /// Whom a rule means, by policy, direction and place: the same for every subject.
    peers: HashMap<(usize, Direction, usize), Vec<&'a Identity>>,
    allowed: BTreeSet<Allowed>,
}

impl<'a> Maker<'a> {
    /// Enters what the policies of a subject allow; says in which directions it is isolated.
    fn subject(&mut self, class: &Class, number: u32) -> Isolation {
        let mut isolation = Isolation::default();
        let cluster = self.cluster;
        for (at, policy) in cluster.policies.iter().enumerate() {
            if !policy.selects(&class.namespace, &class.labels) {
                continue;
            }
            for direction in [Direction::Ingress, Direction::Egress] {
                let Some(rules) = policy.rules(direction) else { continue };
                match direction {
                    Direction::Ingress => isolation.ingress = true,
                    Direction::Egress => isolation.egress = true,
                }
                for (place, rule) in rules.iter().enumerate() {
                    let peers = self.peers_of((at, direction, place), rule);
                    self.rule((class, number), direction, rule, &peers);
                }
            }
        }
        isolation
    }

    fn peers_of(&mut self, key: (usize, Direction, usize), rule: &Rule) -> Vec<&'a Identity> {
        if let Some(known) = self.peers.get(&key) {
            return known.clone();
        }
        let own = &self.cluster.policies[key.0].namespace;
        let is_meant =
            |identity: &Identity| rule.peers.iter().any(|peer| means(self.cluster, own, peer, identity));
        let everybody = rule.peers.is_empty();
        let found: Vec<&'a Identity> =
            self.numbers.keys().copied().filter(|identity| everybody || is_meant(identity)).collect();
        self.peers.insert(key, found.clone());
        found
    }

    fn rule(&mut self, subject: (&Class, u32), direction: Direction, rule: &Rule, peers: &[&Identity]) {
        let mut enter = |peer: u32, what: Ports| {
            self.allowed.insert(Allowed { subject: subject.1, peer, direction, what });
        };
        let numbers: Vec<u32> = if rule.peers.is_empty() {
            vec![ANYBODY]
        } else {
            peers.iter().map(|identity| self.numbers[identity]).collect()
        };
        if rule.ports.is_empty() {
            numbers.iter().for_each(|peer| enter(*peer, Ports::All));
            return;
        }
        for port in &rule.ports {
            let protocol = port.protocol;
            match &port.which {
                Which::All => {
                    let what = Ports::Of { protocol, first: 0, bits: 0 };
                    numbers.iter().for_each(|peer| enter(*peer, what));
                }
                Which::Range(first, last) => {
                    for (first, bits) in blocks(*first, *last) {
                        let what = Ports::Of { protocol, first, bits };
                        numbers.iter().for_each(|peer| enter(*peer, what));
                    }
                }
                Which::Named(name) if direction == Direction::Ingress => {
                    for first in subject.0.named(name, protocol) {
                        let what = Ports::Of { protocol, first, bits: 16 };
                        numbers.iter().for_each(|peer| enter(*peer, what));
                    }
                }
                // The name is the receiver's: also of a rule for anybody.
                Which::Named(name) => {
                    for identity in peers {
                        let ports = identity.class.iter().flat_map(|class| class.named(name, protocol));
                        for first in ports {
                            enter(self.numbers[identity], Ports::Of { protocol, first, bits: 16 });
                        }
                    }
                }
            }
        }
    }
}

/// Whether a peer of a rule is somebody.
fn means(cluster: &Cluster, own: &str, peer: &Peer, identity: &Identity) -> bool {
    match peer {
        // The prefix is the longest one there is, so it lies within a block as a whole or not at all.
        Peer::Block { cidr, except } => identity.prefix.is_some_and(|prefix| {
            cidr.contains(&prefix) && !except.iter().any(|range| range.contains(&prefix))
        }),
        Peer::Pods { .. } => {
            identity.class.as_ref().is_some_and(|class| is_selected(cluster, own, peer, class))
        }
        Peer::Nobody => false,
    }
}

/// A range of ports as blocks that share their first bits: the first port and how many bits.
pub fn blocks(first: u16, last: u16) -> Vec<(u16, u8)> {
    let mut blocks = Vec::new();
    let (mut at, end) = (u32::from(first), u32::from(last) + 1);
    while at < end {
        let mut free = if at == 0 { 16 } else { at.trailing_zeros().min(16) };
        while at + (1 << free) > end {
            free -= 1;
        }
        blocks.push((u16::try_from(at).unwrap_or(u16::MAX), u8::try_from(16 - free).unwrap_or(16)));
        at += 1 << free;
    }
    blocks
}

//! From policies, namespaces and pods to the entries of the datapath, by what changes. Pure.
//!
//! ```text
//! pods ───────── addresses ─┐
//! policies ─┬─── prefixes ──┴▶ identities ─┐
//!           └─── rules ──────▶ selections ─┼─▶ entries of POLICY and IDENTITIES
//! pods of this node ─────────▶ subjects ───┘
//! ```
//!
//! Each entry counts its reasons: a subject, a rule of a policy that selects it, and an identity that the rule means. Whatever
//! comes or goes is joined with what is there of the other two, so a change costs what it changes; to compile everything is to
//! let everything come.
//!
//! **Invariants.** A selector is asked once about an identity: when either comes, or when the labels of the identity's namespace
//! change. What stays does not go and come again: the new is held before the old is released.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use client::Key;
use datapath::{Allowed, Direction, Isolation};
use ipnet::IpNet;

use super::addresses::{Addresses, Prefixes};
use super::cluster::{Class, Labels, Pod};
use super::compiled::Compiled;
use super::identities::{Identities, Identity, Moved};
use super::opening::Opening;
use super::rule::Policy;
use super::selections::Selections;

/// What is known, and what it comes to.
#[derive(Debug, Default)]
pub struct Compiler {
    namespaces: BTreeMap<String, Labels>,
    pods: BTreeMap<Key, Arc<Pod>>,
    /// Pods of this node by link, with the addresses that the plugin gave them.
    own: BTreeMap<String, (Arc<Class>, Vec<IpAddr>)>,
    policies: BTreeMap<Key, Selecting>,
    addresses: Addresses,
    prefixes: Prefixes,
    identities: Identities,
    selections: Selections,
    /// Classes of this node's pods.
    subjects: BTreeMap<Arc<Class>, Subject>,
    pub compiled: Compiled,
    /// Addresses whose pod may be another one.
    reassigned: BTreeSet<IpAddr>,
    asked: u64,
}

/// A policy and the subjects that it selects.
#[derive(Debug)]
struct Selecting {
    policy: Policy,
    rules: Vec<Opening>,
    subjects: BTreeSet<Arc<Class>>,
}

/// What a policy and a subject are joined with.
struct Peers<'a> {
    selections: &'a Selections,
    identities: &'a Identities,
}

#[derive(Debug)]
struct Subject {
    /// Of its class alone: it does not change with the prefixes of others.
    number: u32,
    /// How many pods.
    count: usize,
    /// How many policies isolate it.
    ingress: usize,
    egress: usize,
}

// === impl Compiler ===

impl Compiler {
    pub fn policies(&self) -> usize {
        self.policies.len()
    }

    pub fn identities(&self) -> usize {
        self.identities.len()
    }

    /// Number and isolation of a class of this node's pods.
    pub fn subject(&self, class: &Arc<Class>) -> Option<(u32, Isolation)> {
        let subject = self.subjects.get(class)?;
        Some((subject.number, Isolation { ingress: subject.ingress > 0, egress: subject.egress > 0 }))
    }

    /// The pod of the API that has an address.
    pub fn pod_at(&self, address: IpAddr) -> Option<&Arc<Pod>> {
        self.addresses.get(address)?.youngest()
    }

    /// How often a selector was asked since the start.
    pub fn asked(&self) -> u64 {
        self.asked
    }

    /// Links of this node's pods.
    pub fn links(&self) -> impl Iterator<Item = &String> {
        self.own.keys()
    }

    /// Addresses of which [`Compiler::pod_at`] may say something else than when this was last asked.
    pub fn take_reassigned(&mut self) -> BTreeSet<IpAddr> {
        std::mem::take(&mut self.reassigned)
    }

    /// One whose identities' hashes meet.
    #[cfg(test)]
    pub fn narrow() -> Compiler {
        Compiler { identities: Identities::narrow(), ..Compiler::default() }
    }

    /// Nothing is left of what went.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        let known = (self.pods.len(), self.own.len(), self.policies.len(), self.namespaces.len());
        let made = (self.subjects.len(), self.identities.len(), self.compiled.names().len());
        known == (0, 0, 0, 0)
            && made == (0, 0, 0)
            && self.compiled.allowed().next().is_none()
            && self.addresses.is_empty()
            && self.prefixes.is_empty()
            && self.selections.is_empty()
    }

    /// A pod of the API as it is now.
    pub fn set_pod(&mut self, key: &Key, pod: Option<Arc<Pod>>) {
        if self.pods.get(key) == pod.as_ref() {
            return;
        }
        let mut addresses = BTreeSet::new();
        if let Some(old) = self.pods.remove(key) {
            for address in &old.addresses {
                self.addresses.claims(*address).pods.retain(|known| !Arc::ptr_eq(known, &old));
                addresses.insert(*address);
            }
        }
        if let Some(pod) = pod {
            for address in &pod.addresses {
                self.addresses.claims(*address).pods.push(pod.clone());
                addresses.insert(*address);
            }
            self.pods.insert(key.clone(), pod);
        }
        for address in addresses {
            self.settle(address);
            self.reassigned.insert(address);
        }
    }

    /// A pod of this node as it is now.
    pub fn set_own(&mut self, link: &str, pod: Option<(Arc<Class>, Vec<IpAddr>)>) {
        if self.own.get(link) == pod.as_ref() {
            return;
        }
        let mut addresses = BTreeSet::new();
        let old = self.own.remove(link);
        for address in old.iter().flat_map(|(_, addresses)| addresses) {
            self.addresses.claims(*address).own.remove(link);
            addresses.insert(*address);
        }
        if let Some((class, all)) = pod {
            self.subject_comes(&class);
            for address in &all {
                self.addresses.claims(*address).own.insert(link.to_owned(), class.clone());
                addresses.insert(*address);
            }
            self.own.insert(link.to_owned(), (class, all));
        }
        addresses.into_iter().for_each(|address| self.settle(address));
        if let Some((class, _)) = old {
            self.subject_goes(&class);
        }
    }

    /// A namespace's labels as they are now.
    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>) {
        if self.namespaces.get(name) == labels.as_ref() {
            return;
        }
        match labels {
            Some(labels) => drop(self.namespaces.insert(name.to_owned(), labels)),
            None => drop(self.namespaces.remove(name)),
        }
        let of = self.identities.of_namespace(name);
        let all: Vec<(Identity, u32)> = of.map(|(identity, number)| (identity.clone(), number)).collect();
        all.iter().for_each(|(identity, number)| self.look_at(identity, *number, true));
    }

    /// A policy as it is now.
    pub fn set_policy(&mut self, key: &Key, policy: Option<Policy>) {
        if self.policies.get(key).map(|known| &known.policy) == policy.as_ref() {
            return;
        }
        for prefix in policy.iter().flat_map(Policy::prefixes) {
            if self.prefixes.add(prefix) {
                self.prefix_comes(prefix);
            }
        }
        let old = self.policy_goes(key);
        if let Some(policy) = policy {
            self.policy_comes(key, policy);
        }
        let Some(old) = old else { return };
        for whom in old.rules.iter().flat_map(|rule| &rule.whom) {
            self.selections.forget(whom);
        }
        for prefix in old.policy.prefixes() {
            if self.prefixes.remove(&prefix) {
                self.prefix_goes(prefix);
            }
        }
    }

    /// Nobody need be known any more but this node's pods.
    pub fn forget_cluster(&mut self) {
        let pods: Vec<Key> = self.pods.keys().cloned().collect();
        pods.iter().for_each(|key| self.set_pod(key, None));
        let namespaces: Vec<String> = self.namespaces.keys().cloned().collect();
        namespaces.iter().for_each(|name| self.set_namespace(name, None));
    }

    fn policy_comes(&mut self, key: &Key, policy: Policy) {
        let rules = Opening::all(&policy);
        let Compiler { selections, identities, namespaces, asked, .. } = self;
        for (place, rule) in rules.iter().enumerate() {
            for whom in &rule.whom {
                selections.add(whom, (key.clone(), place), || {
                    let mut means = BTreeSet::new();
                    let mut ask = |(identity, number): (&Identity, u32)| {
                        *asked += 1;
                        means.extend(whom.means(identity, namespaces).then_some(number));
                    };
                    match whom.namespace() {
                        "" => identities.all().for_each(&mut ask),
                        namespace => identities.of_namespace(namespace).for_each(&mut ask),
                    }
                    means
                });
            }
        }
        let first = Class { namespace: policy.namespace.clone(), ..Class::default() };
        let mut selecting = Selecting { policy, rules, subjects: BTreeSet::new() };
        let peers = Peers { selections: &self.selections, identities: &self.identities };
        for (class, subject) in self.subjects.range_mut(Arc::new(first)..) {
            if class.namespace != selecting.policy.namespace {
                break;
            }
            self.asked += 1;
            let selects = selecting.policy.pods.matches(&class.labels);
            selecting.select(class, subject, selects, &peers, &mut self.compiled);
        }
        self.policies.insert(key.clone(), selecting);
    }

    fn policy_goes(&mut self, key: &Key) -> Option<Selecting> {
        let mut old = self.policies.remove(key)?;
        let peers = Peers { selections: &self.selections, identities: &self.identities };
        for class in old.subjects.clone() {
            if let Some(subject) = self.subjects.get_mut(&class) {
                old.select(&class, subject, false, &peers, &mut self.compiled);
            }
        }
        for (place, rule) in old.rules.iter().enumerate() {
            rule.whom.iter().for_each(|whom| self.selections.remove(whom, &(key.clone(), place)));
        }
        Some(old)
    }

    fn subject_comes(&mut self, class: &Arc<Class>) {
        if let Some(subject) = self.subjects.get_mut(class) {
            subject.count += 1;
            return;
        }
        let number = self.hold(&Identity { class: Some(class.clone()), prefix: None });
        self.subjects.insert(class.clone(), Subject { number, count: 1, ingress: 0, egress: 0 });
        self.choose_policies(class, true);
    }

    fn subject_goes(&mut self, class: &Arc<Class>) {
        let Some(subject) = self.subjects.get_mut(class) else { return };
        subject.count -= 1;
        if subject.count > 0 {
            return;
        }
        self.choose_policies(class, false);
        if let Some(subject) = self.subjects.remove(class) {
            self.release(subject.number);
        }
    }

    /// Joins a subject with the policies that select it, or takes it out of all.
    fn choose_policies(&mut self, class: &Arc<Class>, comes: bool) {
        let Some(subject) = self.subjects.get_mut(class) else { return };
        let peers = Peers { selections: &self.selections, identities: &self.identities };
        for (key, policy) in self.policies.range_mut(Key::new(&*class.namespace, "")..) {
            if key.namespace != class.namespace {
                break;
            }
            self.asked += u64::from(comes);
            let selects = comes && policy.policy.pods.matches(&class.labels);
            policy.select(class, subject, selects, &peers, &mut self.compiled);
        }
    }

    fn prefix_comes(&mut self, prefix: IpNet) {
        self.hold(&Identity { class: None, prefix: Some(prefix) });
        self.tell_name(prefix);
        self.addresses.within(&prefix).into_iter().for_each(|address| self.settle(address));
    }

    fn prefix_goes(&mut self, prefix: IpNet) {
        self.addresses.within(&prefix).into_iter().for_each(|address| self.settle(address));
        if let Some(number) = self.identities.number(&Identity { class: None, prefix: Some(prefix) }) {
            self.release(number);
        }
        self.tell_name(prefix);
    }

    /// Finds out whose an address is.
    fn settle(&mut self, address: IpAddr) {
        let class = self.addresses.get(address).and_then(|claims| claims.class()).cloned();
        let prefix = self.prefixes.longest(address);
        let number = class.map(|class| self.hold(&Identity { class: Some(class), prefix }));
        if let Some(before) = self.addresses.settle(address, number) {
            self.release(before);
        }
        self.tell_name(address.into());
    }

    fn tell_name(&mut self, prefix: IpNet) {
        let is_address = prefix.prefix_len() == prefix.max_prefix_len();
        let claims = is_address.then(|| self.addresses.get(prefix.addr())).flatten();
        let number = claims.and_then(|claims| claims.number);
        let of_prefix = || self.identities.number(&Identity { class: None, prefix: Some(prefix) });
        self.compiled.set_name(prefix, number.or_else(of_prefix));
    }

    /// The identity's number.
    fn hold(&mut self, identity: &Identity) -> u32 {
        let (number, moved) = self.identities.hold(identity);
        if let Some(moved) = moved {
            self.renumber(&moved);
            self.look_at(identity, number, true);
        }
        number
    }

    fn release(&mut self, number: u32) {
        if let Some((identity, moved)) = self.identities.release(number) {
            self.look_at(&identity, number, false);
            self.renumber(&moved);
        }
    }

    /// An identity came, went, or its namespace has other labels.
    fn look_at(&mut self, identity: &Identity, number: u32, is_there: bool) {
        let Compiler { namespaces, policies, selections, subjects, compiled, asked, .. } = self;
        for (whom, selection) in selections.of(identity) {
            *asked += u64::from(is_there);
            let means = is_there && whom.means(identity, namespaces);
            if means == selection.means.contains(&number) {
                continue;
            }
            if means {
                selection.means.insert(number);
            } else {
                selection.means.remove(&number);
            }
            for (key, place) in &selection.rules {
                let Some(policy) = policies.get(key) else { continue };
                let Some(rule) = policy.rules.get(*place) else { continue };
                for class in &policy.subjects {
                    let Some(subject) = subjects.get(class) else { continue };
                    for what in rule.ports(whom, class, identity.class.as_deref()) {
                        let (subject, direction) = (subject.number, rule.direction);
                        compiled.count(Allowed { subject, peer: number, direction, what }, means);
                    }
                }
            }
        }
    }

    /// Others have taken numbers of each other. So rare that whatever has a number is looked through.
    fn renumber(&mut self, moved: &Moved) {
        if moved.is_empty() {
            return;
        }
        let numbers: BTreeMap<u32, u32> = moved.iter().copied().collect();
        let known = |after: &u32| self.identities.get(*after).cloned();
        let who: Vec<(u32, u32, Identity)> =
            moved.iter().filter_map(|(before, after)| Some((*before, *after, known(after)?))).collect();
        let subjects: Vec<(Arc<Class>, u32)> = self
            .subjects
            .iter()
            .filter_map(|(class, subject)| Some((class.clone(), *numbers.get(&subject.number)?)))
            .collect();
        // Numbers that are asked about meanwhile are those of others.
        who.iter().for_each(|(before, _, identity)| self.look_at(identity, *before, false));
        for (class, after) in &subjects {
            self.choose_policies(class, false);
            if let Some(subject) = self.subjects.get_mut(class) {
                subject.number = *after;
            }
            self.choose_policies(class, true);
        }
        who.iter().for_each(|(_, after, identity)| self.look_at(identity, *after, true));
        let mut named = Vec::new();
        for (address, number) in self.addresses.numbers() {
            if let Some(after) = numbers.get(number) {
                *number = *after;
                named.push(IpNet::from(address));
            }
        }
        let prefixes = who.iter().filter(|(_, _, identity)| identity.class.is_none());
        named.extend(prefixes.filter_map(|(_, _, identity)| identity.prefix));
        named.into_iter().for_each(|prefix| self.tell_name(prefix));
    }
}

// === impl Selecting ===

impl Selecting {
    /// Begins or ends to select a subject.
    fn select(
        &mut self,
        class: &Arc<Class>,
        subject: &mut Subject,
        selects: bool,
        peers: &Peers<'_>,
        compiled: &mut Compiled,
    ) {
        let is_news = if selects { self.subjects.insert(class.clone()) } else { self.subjects.remove(class) };
        if !is_news {
            return;
        }
        for (direction, count) in
            [(Direction::Ingress, &mut subject.ingress), (Direction::Egress, &mut subject.egress)]
        {
            let isolates = usize::from(self.policy.rules(direction).is_some());
            *count = if selects { *count + isolates } else { *count - isolates };
        }
        for rule in &self.rules {
            let (subject, direction) = (subject.number, rule.direction);
            for whom in &rule.whom {
                let means = peers.selections.get(whom).map(|selection| &selection.means);
                for peer in means.into_iter().flatten().copied() {
                    let identity = peers.identities.get(peer);
                    let peer_class = identity.and_then(|identity| identity.class.as_deref());
                    for what in rule.ports(whom, class, peer_class) {
                        compiled.count(Allowed { subject, peer, direction, what }, selects);
                    }
                }
            }
        }
    }
}

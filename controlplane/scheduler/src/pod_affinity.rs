//! Which other pods a pod wants near or far: required terms, and preferred ones with their weights.
//!
//! A term is about pods of some namespaces (by name or by the labels of the Namespace) with some labels. Pods that are
//! being deleted count until they are gone.
//!
//! Reference: upstream's InterPodAffinity.

use std::collections::HashMap;

use api::selector::LabelSelector;
use serde_json::Value;

use crate::domains::Domains;
use crate::node::Node;
use crate::peers::{Identity, Labels};
use crate::snapshot::Snapshot;

/// `spec.affinity.podAffinity` and `podAntiAffinity`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PodAffinity {
    near: Vec<Term>,
    far: Vec<Term>,
    /// With weights; those of anti-affinity are negative.
    preferred: Vec<(i64, Term)>,
}

/// Pods of some namespaces and labels, in one domain of nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    namespaces: Vec<String>,
    namespace_selector: LabelSelector,
    selector: LabelSelector,
    topology: String,
}

/// Labels of the namespaces, by name.
pub type Namespaces = HashMap<String, Labels>;

/// What required terms, a pod's own and those of others, mean among the pods there are now.
#[derive(Clone, Debug)]
pub struct Required<'a> {
    identity: &'a Identity,
    namespaces: &'a Namespaces,
    /// By term: pods that all terms are about.
    near: Vec<Domains>,
    /// How often a pod is in one of the domains of `near`.
    neighbours: i64,
    /// By term.
    far: Vec<Domains>,
    /// By label: pods that want this one far.
    shunned: HashMap<String, Domains>,
    /// The pod would be near to itself.
    itself: bool,
}

/// Which of the terms a node does not fulfil.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objection {
    Near,
    Far,
    Shunned,
}

impl PodAffinity {
    pub fn read(namespace: &str, affinity: &Value) -> PodAffinity {
        let list = |kind: &str, strength: &str| {
            let terms =
                affinity[kind][format!("{strength}DuringSchedulingIgnoredDuringExecution")].as_array();
            terms.into_iter().flatten()
        };
        let required = |kind: &str| list(kind, "required").map(|term| Term::read(namespace, term)).collect();
        let preferred = |kind: &str, sign: i64| -> Vec<(i64, Term)> {
            let term = |term: &Value| {
                let weight = term["weight"].as_i64().unwrap_or_default();
                (sign * weight, Term::read(namespace, &term["podAffinityTerm"]))
            };
            list(kind, "preferred").map(term).collect()
        };
        let mut all = preferred("podAffinity", 1);
        all.extend(preferred("podAntiAffinity", -1));
        PodAffinity { near: required("podAffinity"), far: required("podAntiAffinity"), preferred: all }
    }

    pub fn is_empty(&self) -> bool {
        self.near.is_empty() && self.far.is_empty() && self.preferred.is_empty()
    }

    /// What an existing pod adds for a new one wherever it is near, by term.
    pub fn near(&self) -> &[Term] {
        &self.near
    }

    pub fn preferred(&self) -> &[(i64, Term)] {
        &self.preferred
    }
}

/// A selector. The API server has put conditions for `matchLabelKeys` into it.
pub fn selector(value: &Value) -> LabelSelector {
    // What is not there selects nothing, an empty one everything.
    LabelSelector::from_object(Some(value)).unwrap_or_else(|_| LabelSelector::nothing())
}

impl Term {
    fn read(namespace: &str, term: &Value) -> Term {
        let named = term["namespaces"].as_array().into_iter().flatten();
        let mut namespaces: Vec<String> = named.filter_map(Value::as_str).map(str::to_owned).collect();
        if namespaces.is_empty() && term["namespaceSelector"].is_null() {
            namespaces.push(namespace.to_owned());
        }
        Term {
            namespaces,
            namespace_selector: selector(&term["namespaceSelector"]),
            selector: selector(&term["labelSelector"]),
            topology: term["topologyKey"].as_str().unwrap_or_default().to_owned(),
        }
    }

    pub fn is_about(&self, pod: &Identity, namespaces: &Namespaces) -> bool {
        let none = Labels::new();
        let labels = || namespaces.get(&pod.namespace).unwrap_or(&none);
        (self.namespaces.contains(&pod.namespace) || self.namespace_selector.matches(labels()))
            && self.selector.matches(&pod.labels)
    }

    /// The domain of this term that a node is in.
    pub fn domain<'n>(&self, node: &'n Node) -> Option<(&str, &'n str)> {
        Some((&self.topology, node.labels.get(&self.topology)?))
    }
}

/// What one pod is to another.
struct Relation<'o> {
    /// All of the other's near terms are about it.
    near: bool,
    /// Which of the other's far terms are.
    far: Vec<usize>,
    /// Its own terms that want the other far.
    shuns: Vec<&'o Term>,
}

impl Relation<'_> {
    fn is_nothing(&self) -> bool {
        !self.near && self.far.is_empty() && self.shuns.is_empty()
    }
}

impl<'a> Required<'a> {
    /// Looks at all pods once, for all nodes.
    pub fn of(identity: &'a Identity, snapshot: &'a Snapshot) -> Required<'a> {
        let (wish, namespaces) = (&identity.affinity, snapshot.namespaces());
        let mut required = Required {
            identity,
            namespaces,
            near: vec![Domains::default(); wish.near.len()],
            neighbours: 0,
            far: vec![Domains::default(); wish.far.len()],
            shunned: HashMap::new(),
            itself: wish.near.iter().all(|term| term.is_about(identity, namespaces)),
        };
        // Without terms of its own the pod only minds those who mind it.
        let everybody = !wish.near.is_empty() || !wish.far.is_empty();
        let peers = snapshot.peers();
        let (all, wanting) = (everybody.then(|| peers.all()), (!everybody).then(|| peers.with_affinity()));
        for (other, placed) in all.into_iter().flatten().chain(wanting.into_iter().flatten()) {
            let relation = required.relation(other);
            if relation.is_nothing() {
                continue;
            }
            for (name, count) in placed {
                if let Some(node) = snapshot.node(name) {
                    required.count(&relation, node, count.all);
                }
            }
        }
        required
    }

    /// A pod comes to a node, or goes.
    pub fn shift(&mut self, other: &Identity, node: &Node, more: i64) {
        let relation = self.relation(other);
        self.count(&relation, node, more);
    }

    fn relation<'o>(&self, other: &'o Identity) -> Relation<'o> {
        let wish = &self.identity.affinity;
        let is_meant = |term: &Term| term.is_about(other, self.namespaces);
        Relation {
            near: !wish.near.is_empty() && wish.near.iter().all(is_meant),
            far: (0..wish.far.len()).filter(|at| is_meant(&wish.far[*at])).collect(),
            shuns: other
                .affinity
                .far
                .iter()
                .filter(|term| term.is_about(self.identity, self.namespaces))
                .collect(),
        }
    }

    fn count(&mut self, relation: &Relation<'_>, node: &Node, more: i64) {
        let wish = &self.identity.affinity;
        if relation.near {
            for (term, domains) in wish.near.iter().zip(&mut self.near) {
                if let Some((_, domain)) = term.domain(node) {
                    domains.add(domain, more);
                    self.neighbours += more;
                }
            }
        }
        for at in &relation.far {
            if let Some((_, domain)) = wish.far[*at].domain(node) {
                self.far[*at].add(domain, more);
            }
        }
        for (topology, domain) in relation.shuns.iter().filter_map(|term| term.domain(node)) {
            match self.shunned.get_mut(topology) {
                Some(domains) => domains.add(domain, more),
                None => self.shunned.entry(topology.to_owned()).or_default().add(domain, more),
            }
        }
    }

    /// What speaks against a node.
    pub fn objection(&self, node: &Node) -> Option<Objection> {
        let wish = &self.identity.affinity;
        let there = |domains: &Domains, domain: &str| domains.get(domain).is_some_and(|count| count > 0);
        // The first of a group that wants to be together may go anywhere.
        let first = self.neighbours == 0 && self.itself;
        for (term, domains) in wish.near.iter().zip(&self.near) {
            match term.domain(node) {
                Some((_, domain)) if first || there(domains, domain) => {}
                _ => return Some(Objection::Near),
            }
        }
        let mut far = wish.far.iter().zip(&self.far);
        if far.any(|(term, domains)| term.domain(node).is_some_and(|(_, domain)| there(domains, domain))) {
            return Some(Objection::Far);
        }
        let label = |key: &String| node.labels.get(key);
        let mut shunned = self.shunned.iter();
        shunned
            .any(|(key, domains)| label(key).is_some_and(|domain| there(domains, domain)))
            .then_some(Objection::Shunned)
    }
}

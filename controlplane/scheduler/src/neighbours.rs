//! Which other pods a pod wants near or far, and how evenly it wants to be spread: required terms only.
//!
//! Not preferences (`preferredDuringScheduling...`, `ScheduleAnyway`): they change no decision yet. A namespaceSelector is
//! taken to be every namespace, whatever it says.
//!
//! Reference: upstream's InterPodAffinity and PodTopologySpread.

use std::collections::BTreeMap;

use api::selector::LabelSelector;
use serde_json::Value;

use crate::node::Node;
use crate::pod::Pod;
use crate::snapshot::Snapshot;

/// What a pod says about its neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbours {
    near: Vec<Term>,
    pub(crate) far: Vec<Term>,
    spread: Vec<Spread>,
}

/// Pods of some namespaces and labels, in one domain of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// `None`: every namespace.
    namespaces: Option<Vec<String>>,
    selector: LabelSelector,
    topology: String,
}

/// A constraint on how uneven domains may be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spread {
    most_skew: i64,
    topology: String,
    selector: LabelSelector,
    /// Domains there must be at least.
    least_domains: usize,
}

/// Per topology key, the values of the key and how many pods of interest are there.
type Counts = BTreeMap<String, i64>;

/// What a pod's terms mean among the pods there are now.
#[derive(Debug, Default)]
pub struct Places<'a> {
    near: Vec<(&'a Term, Counts)>,
    far: Vec<(&'a Term, Counts)>,
    /// Domains that other pods keep free of this one.
    shunned: Vec<(String, String)>,
    spread: Vec<(&'a Spread, Counts, bool)>,
    /// Nobody is there to be near to, and the pod would be near to itself.
    first: bool,
}

/// Which of the wishes a node does not fulfil.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objection {
    Near,
    Far,
    Shunned,
    Spread,
    MissingLabel,
}

impl Neighbours {
    pub fn read(namespace: &str, spec: &Value) -> Neighbours {
        let required = |kind: &str| {
            let terms = &spec["affinity"][kind]["requiredDuringSchedulingIgnoredDuringExecution"];
            terms.as_array().into_iter().flatten().map(|term| Term::read(namespace, term)).collect()
        };
        let spread = spec["topologySpreadConstraints"].as_array().into_iter().flatten();
        Neighbours {
            near: required("podAffinity"),
            far: required("podAntiAffinity"),
            spread: spread
                .filter(|constraint| constraint["whenUnsatisfiable"] != "ScheduleAnyway")
                .map(|constraint| Spread {
                    most_skew: constraint["maxSkew"].as_i64().unwrap_or(1),
                    topology: text(constraint, "topologyKey"),
                    selector: selector(constraint),
                    least_domains: constraint["minDomains"].as_u64().unwrap_or(1) as usize,
                })
                .collect(),
        }
    }

    /// Whether the pod says anything of its neighbours.
    pub fn is_empty(&self) -> bool {
        self.near.is_empty() && self.far.is_empty() && self.spread.is_empty()
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// The selector of a term. The API server has put conditions for `matchLabelKeys` into it.
fn selector(term: &Value) -> LabelSelector {
    match &term["labelSelector"] {
        Value::Null => LabelSelector::nothing(),
        selector => LabelSelector::from_object(Some(selector)).unwrap_or_else(|_| LabelSelector::nothing()),
    }
}

impl Term {
    fn read(namespace: &str, term: &Value) -> Term {
        let named: Vec<String> = term["namespaces"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        let namespaces = match (term["namespaceSelector"].is_object(), named.is_empty()) {
            (true, _) => None,
            (false, true) => Some(vec![namespace.to_owned()]),
            (false, false) => Some(named),
        };
        Term { namespaces, selector: selector(term), topology: text(term, "topologyKey") }
    }

    fn is_about(&self, pod: &Pod) -> bool {
        let here = self.namespaces.as_ref().is_none_or(|names| names.contains(&pod.key.namespace));
        here && self.selector.matches(&pod.labels)
    }
}

impl<'a> Places<'a> {
    /// Looks at all pods once, for all nodes.
    pub fn of(pod: &'a Pod, snapshot: &Snapshot) -> Places<'a> {
        let mut places = Places { shunned: shunned(pod, snapshot), ..Places::default() };
        let wish = &pod.neighbours;
        let counted = |term: &'a Term| {
            (term, counts(snapshot, &term.topology, |other| !other.terminating && term.is_about(other)))
        };
        places.near = wish.near.iter().map(counted).collect();
        places.far = wish.far.iter().map(counted).collect();
        let nobody = places.near.iter().all(|(_, counts)| counts.values().all(|count| *count == 0));
        places.first = nobody && wish.near.iter().all(|term| term.is_about(pod));
        for spread in &wish.spread {
            let own = spread.selector.matches(&pod.labels);
            let mut counts: Counts = BTreeMap::new();
            for (node, room) in snapshot.nodes().filter(|(node, _)| pod.wish.affinity.admits(node)) {
                let Some(domain) = node.labels.get(&spread.topology) else { continue };
                let same = |other: &&Pod| {
                    !other.terminating
                        && other.key.namespace == pod.key.namespace
                        && spread.selector.matches(&other.labels)
                };
                *counts.entry(domain.clone()).or_default() += room.pods().filter(same).count() as i64;
            }
            places.spread.push((spread, counts, own));
        }
        places
    }

    /// What speaks against a node.
    pub fn objection(&self, node: &Node) -> Option<Objection> {
        for (spread, counts, own) in &self.spread {
            let Some(domain) = node.labels.get(&spread.topology) else {
                return Some(Objection::MissingLabel);
            };
            let fewest = if counts.len() < spread.least_domains {
                0
            } else {
                counts.values().copied().min().unwrap_or(0)
            };
            let then = counts.get(domain).copied().unwrap_or(0) + i64::from(*own);
            if then - fewest > spread.most_skew {
                return Some(Objection::Spread);
            }
        }
        let count = |term: &Term, counts: &Counts| {
            node.labels.get(&term.topology).map(|domain| counts.get(domain).copied().unwrap_or(0))
        };
        for (term, counts) in &self.near {
            match count(term, counts) {
                None => return Some(Objection::Near),
                Some(0) if !self.first => return Some(Objection::Near),
                Some(_) => {}
            }
        }
        if self.far.iter().any(|(term, counts)| count(term, counts).is_some_and(|count| count > 0)) {
            return Some(Objection::Far);
        }
        let shunned = self.shunned.iter().any(|(key, value)| node.labels.get(key) == Some(value));
        shunned.then_some(Objection::Shunned)
    }
}

fn counts(snapshot: &Snapshot, topology: &str, is: impl Fn(&Pod) -> bool) -> Counts {
    let mut counts = BTreeMap::new();
    for (node, room) in snapshot.nodes() {
        if let Some(domain) = node.labels.get(topology) {
            *counts.entry(domain.clone()).or_default() += room.pods().filter(|pod| is(pod)).count() as i64;
        }
    }
    counts
}

/// The domains whose pods want this one to be far.
fn shunned(pod: &Pod, snapshot: &Snapshot) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for (node, room) in snapshot.nodes() {
        for other in room.pods().filter(|other| !other.neighbours.far.is_empty()) {
            for term in other.neighbours.far.iter().filter(|term| term.is_about(pod)) {
                if let Some(value) = node.labels.get(&term.topology) {
                    out.push((term.topology.clone(), value.clone()));
                }
            }
        }
    }
    out.sort();
    out.dedup();
    out
}

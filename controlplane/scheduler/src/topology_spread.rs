//! How evenly pods are spread over topology domains: the constraints of a pod and what they mean for a node.
//!
//! Pods of the same namespace count, but for those that are being deleted. Nodes that lack the label of any constraint
//! are in no domain.
//!
//! Reference: upstream's PodTopologySpread; KEP-3022 for `minDomains`, KEP-3094 for the inclusion policies.

use api::selector::LabelSelector;
use serde_json::Value;

use crate::domains::Domains;
use crate::node::Node;
use crate::peers::Count;
use crate::pod::Pod;
use crate::pod_affinity::selector;
use crate::snapshot::Snapshot;

/// `spec.topologySpreadConstraints`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopologySpread {
    /// `DoNotSchedule`
    pub hard: Vec<Constraint>,
    /// `ScheduleAnyway`
    pub soft: Vec<Constraint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    pub most_skew: i64,
    pub topology: String,
    pub selector: LabelSelector,
    /// Where there are fewer domains, the fewest pods in one are none.
    pub least_domains: usize,
    /// Only nodes that the pod's selector and affinity admit are in a domain.
    pub honors_affinity: bool,
    /// Only nodes whose taints the pod tolerates are.
    pub honors_taints: bool,
}

/// What the hard constraints of a pod mean among the pods there are now.
#[derive(Clone, Debug)]
pub struct Skew<'a> {
    pod: &'a Pod,
    /// By constraint.
    domains: Vec<Domains>,
}

/// Which kind of constraint a node does not fulfil.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objection {
    Skew,
    MissingLabel,
}

impl TopologySpread {
    pub fn read(spec: &Value) -> TopologySpread {
        let stated = spec["topologySpreadConstraints"].as_array().into_iter().flatten();
        let (soft, hard) =
            stated.partition::<Vec<&Value>, _>(|one| one["whenUnsatisfiable"] == "ScheduleAnyway");
        let read = |list: Vec<&Value>| list.into_iter().map(Constraint::read).collect();
        TopologySpread { hard: read(hard), soft: read(soft) }
    }

    /// Whether the pod says anything of it; where it does not, the cluster's defaults hold.
    pub fn is_stated(&self) -> bool {
        !self.hard.is_empty() || !self.soft.is_empty()
    }
}

impl Constraint {
    fn read(constraint: &Value) -> Constraint {
        Constraint {
            most_skew: constraint["maxSkew"].as_i64().unwrap_or(1),
            topology: constraint["topologyKey"].as_str().unwrap_or_default().to_owned(),
            selector: selector(&constraint["labelSelector"]),
            least_domains: constraint["minDomains"]
                .as_u64()
                .map_or(1, |least| usize::try_from(least).unwrap_or(usize::MAX)),
            honors_affinity: constraint["nodeAffinityPolicy"] != "Ignore",
            honors_taints: constraint["nodeTaintsPolicy"] == "Honor",
        }
    }

    /// One of the cluster's defaults: what is left out of it, and no selector.
    pub fn default_of(topology: &str, most_skew: i64) -> Constraint {
        Constraint {
            most_skew,
            topology: topology.to_owned(),
            selector: LabelSelector::nothing(),
            least_domains: 1,
            honors_affinity: true,
            honors_taints: false,
        }
    }

    /// Whether a node may be in a domain at all.
    pub fn includes(&self, pod: &Pod, node: &Node) -> bool {
        let tolerated = || {
            let mut repelling = node.taints.iter().filter(|taint| taint.repels());
            repelling.all(|taint| taint.is_tolerated(&pod.wish.tolerations))
        };
        (!self.honors_affinity || pod.wish.affinity.admits(node)) && (!self.honors_taints || tolerated())
    }
}

/// Whether a node has the labels of all constraints.
pub fn has_labels(constraints: &[Constraint], node: &Node) -> bool {
    constraints.iter().all(|constraint| node.labels.contains_key(&constraint.topology))
}

impl<'a> Skew<'a> {
    /// Looks at all nodes and at the pods that count, once.
    pub fn of(pod: &'a Pod, snapshot: &Snapshot) -> Skew<'a> {
        let constraints = &pod.spread.hard;
        let mut skew = Skew { pod, domains: vec![Domains::default(); constraints.len()] };
        if constraints.is_empty() {
            return skew;
        }
        for (node, _) in snapshot.nodes().filter(|(node, _)| has_labels(constraints, node)) {
            for (constraint, domains) in constraints.iter().zip(&mut skew.domains) {
                if constraint.includes(pod, node) {
                    domains.add(&node.labels[&constraint.topology], 0);
                }
            }
        }
        for (other, placed) in snapshot.peers().in_namespace(&pod.identity.namespace) {
            for (at, _) in matching(constraints, |constraint| constraint.selector.matches(&other.labels)) {
                for (name, count) in placed {
                    if let Some(node) = snapshot.node(name) {
                        skew.count(at, node, count.staying());
                    }
                }
            }
        }
        skew
    }

    /// A pod comes to a node, or goes.
    pub fn shift(&mut self, other: &Pod, node: &Node, sign: i64) {
        let (pod, count) = (self.pod, Count::of(other).staying());
        if other.identity.namespace == pod.identity.namespace {
            let labels = &other.identity.labels;
            for (at, _) in matching(&pod.spread.hard, |constraint| constraint.selector.matches(labels)) {
                self.count(at, node, sign * count);
            }
        }
    }

    fn count(&mut self, at: usize, node: &Node, more: i64) {
        let constraints = &self.pod.spread.hard;
        if has_labels(constraints, node) && constraints[at].includes(self.pod, node) {
            self.domains[at].add(&node.labels[&constraints[at].topology], more);
        }
    }

    /// What speaks against a node.
    pub fn objection(&self, node: &Node) -> Option<Objection> {
        for (constraint, domains) in self.pod.spread.hard.iter().zip(&self.domains) {
            let Some(domain) = node.labels.get(&constraint.topology) else {
                return Some(Objection::MissingLabel);
            };
            let fewest = match domains.len() < constraint.least_domains {
                true => 0,
                false => domains.fewest().unwrap_or_default(),
            };
            let itself = i64::from(constraint.selector.matches(&self.pod.identity.labels));
            let then = domains.get(domain).unwrap_or_default() + itself;
            if then - fewest > constraint.most_skew {
                return Some(Objection::Skew);
            }
        }
        None
    }
}

fn matching(
    constraints: &[Constraint],
    is: impl Fn(&Constraint) -> bool,
) -> impl Iterator<Item = (usize, &Constraint)> {
    constraints.iter().enumerate().filter(move |(_, constraint)| is(constraint))
}

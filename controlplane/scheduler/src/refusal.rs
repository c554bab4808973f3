//! Why no node will do, in upstream's words.
//!
//! Reference: upstream's `framework.FitError` and `preemption.Evaluator`.

use std::collections::{BTreeMap, BTreeSet};

use crate::filter::{Plugin, Rejection};
use crate::pod::Pod;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For the condition and the event.
    pub message: String,
    /// Every plugin that refused a node: only a change that concerns one of them can help. Empty: a new node alone.
    pub plugins: BTreeSet<Plugin>,
}

/// Why one node is out of the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The pod's affinity names other nodes.
    NotNamed,
    Rejected(Rejection),
}

impl Refusal {
    pub(crate) fn of(pod: &Pod, verdicts: &[Verdict]) -> Refusal {
        if verdicts.is_empty() {
            return Refusal {
                message: "no nodes available to schedule pods".into(),
                plugins: BTreeSet::new(),
            };
        }
        let reasons = histogram(verdicts.iter().flat_map(|verdict| verdict.reasons()));
        let plugins = verdicts.iter().map(|verdict| verdict.plugin()).collect();
        let without_others = if pod.wish.preempts {
            let helpless = verdicts.iter().map(|verdict| match verdict {
                Verdict::Rejected(rejection) if rejection.resolvable => {
                    "No preemption victims found for incoming pod"
                }
                _ => "Preemption is not helpful for scheduling",
            });
            sentence(verdicts.len(), &histogram(helpless))
        } else {
            "not eligible due to preemptionPolicy=Never.".to_owned()
        };
        Refusal { message: whole(&sentence(verdicts.len(), &reasons), &without_others), plugins }
    }

    /// What holds for every node, whatever is on it.
    pub(crate) fn everywhere(nodes: usize, pod: &Pod, why: &str, plugin: Plugin) -> Refusal {
        let without_others = if pod.wish.preempts {
            sentence(nodes, &format!("{nodes} Preemption is not helpful for scheduling"))
        } else {
            "not eligible due to preemptionPolicy=Never.".to_owned()
        };
        let message = whole(&sentence(nodes, why), &without_others);
        Refusal { message, plugins: BTreeSet::from([plugin]) }
    }
}

impl Verdict {
    fn reasons(&self) -> Vec<&str> {
        match self {
            Verdict::NotNamed => vec!["node(s) didn't satisfy plugin(s) [NodeAffinity]"],
            Verdict::Rejected(rejection) => rejection.reasons.iter().map(String::as_str).collect(),
        }
    }

    fn plugin(&self) -> Plugin {
        match self {
            Verdict::NotNamed => Plugin::NodeAffinity,
            Verdict::Rejected(rejection) => rejection.plugin,
        }
    }
}

fn sentence(nodes: usize, why: &str) -> String {
    format!("0/{nodes} nodes are available: {why}.")
}

/// The middle is what the plugin for resource claims says about pods without any.
fn whole(why: &str, without_others: &str) -> String {
    format!("{why} no new claims to deallocate, preemption: {without_others}")
}

/// `1 this, 2 that`, in the order of the texts, numbers included, as upstream sorts them.
fn histogram<'a>(reasons: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut texts: Vec<String> =
        counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    texts.sort();
    texts.join(", ")
}

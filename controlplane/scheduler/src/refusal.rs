//! Why no node will do, in upstream's words.
//!
//! Reference: upstream's `framework.FitError` and `preemption.Evaluator`.

use std::collections::{BTreeMap, BTreeSet};

use crate::filter::{Plugin, Rejection};
use crate::preemption::Preemption;

#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// For the condition and the event.
    pub message: String,
    /// Every plugin that refused a node: only a change that concerns one of them can help. Empty: a new node alone.
    pub plugins: BTreeSet<Plugin>,
    /// Whether others make room.
    pub preemption: Preemption,
}

/// Why one node is out of the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The pod's affinity names other nodes.
    NotNamed,
    Rejected(Rejection),
}

impl Refusal {
    pub(crate) fn of(verdicts: &[Verdict], preemption: Preemption) -> Refusal {
        if verdicts.is_empty() {
            return Refusal {
                message: "no nodes available to schedule pods".into(),
                plugins: BTreeSet::new(),
                preemption,
            };
        }
        let reasons = histogram(verdicts.iter().flat_map(|verdict| verdict.reasons()));
        let plugins = verdicts.iter().map(|verdict| verdict.plugin()).collect();
        Refusal::whole(verdicts.len(), &reasons, plugins, preemption)
    }

    /// What holds for every node, whatever is on it.
    pub(crate) fn everywhere(nodes: usize, why: &str, plugin: Plugin, preemption: Preemption) -> Refusal {
        Refusal::whole(nodes, why, BTreeSet::from([plugin]), preemption)
    }

    fn whole(nodes: usize, why: &str, plugins: BTreeSet<Plugin>, preemption: Preemption) -> Refusal {
        let why = sentence(nodes, why);
        let without = match &preemption {
            Preemption::Found(_) => return Refusal { message: why, plugins, preemption },
            Preemption::Ineligible(why) => (*why).to_owned(),
            Preemption::Useless(reasons) => {
                let helpless = nodes.saturating_sub(reasons.len());
                let helpless = std::iter::repeat_n("Preemption is not helpful for scheduling", helpless);
                let reasons = reasons.iter().flatten().map(String::as_str);
                sentence(nodes, &histogram(reasons.chain(helpless)))
            }
        };
        // The middle is what the plugin for resource claims says about pods without any.
        let message = format!("{why} no new claims to deallocate, preemption: {without}");
        Refusal { message, plugins, preemption }
    }
}

impl Verdict {
    /// Whether fewer pods on the node could help.
    pub(crate) fn is_resolvable(&self) -> bool {
        matches!(self, Verdict::Rejected(rejection) if rejection.resolvable)
    }

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

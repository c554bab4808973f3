//! PodDisruptionBudgets: which of some victims one too many would be.
//!
//! Preemption minds budgets where it can and breaks them where it must.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::meta::Meta;
use api::selector::LabelSelector;
use serde_json::Value;

use crate::pod::Pod;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    namespace: String,
    selector: LabelSelector,
    /// How many pods may go now.
    allowed: i64,
    /// Names of pods that have been counted when their eviction was granted.
    disrupted: BTreeSet<String>,
}

impl Budget {
    pub fn read(budget: &Value) -> Budget {
        let selector = &budget["spec"]["selector"];
        // Here an empty selector is nobody's.
        let selector = LabelSelector::from_object(Some(selector)).ok().filter(|one| !one.is_everything());
        let disrupted = budget["status"]["disruptedPods"].as_object().into_iter().flatten();
        Budget {
            namespace: Meta::of(budget).namespace().to_owned(),
            selector: selector.unwrap_or_else(LabelSelector::nothing),
            allowed: budget["status"]["disruptionsAllowed"].as_i64().unwrap_or_default(),
            disrupted: disrupted.map(|(name, _)| name.clone()).collect(),
        }
    }

    fn is_about(&self, pod: &Pod) -> bool {
        let identity = &pod.identity;
        self.namespace == identity.namespace
            && !identity.labels.is_empty()
            && self.selector.matches(&identity.labels)
            && !self.disrupted.contains(&pod.key.name)
    }
}

/// For each victim, whether a budget is used up when its turn comes.
pub fn violations<'a>(victims: &[Arc<Pod>], budgets: impl Iterator<Item = &'a Budget>) -> Vec<bool> {
    let mut violations = vec![false; victims.len()];
    for budget in budgets {
        let mut left = budget.allowed;
        for (victim, violates) in victims.iter().zip(&mut violations) {
            if budget.is_about(victim) {
                left -= 1;
                *violates |= left < 0;
            }
        }
    }
    violations
}

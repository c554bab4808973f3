//! Which nodes of a DaemonSet get a pod of the new template before the old one goes. Pure.
//!
//! ```text
//!   old available ─► new made (as many as maxSurge) ─► new available ─► old deleted
//!   old not available ─► new made at once
//! ```
//!
//! Reference: KEP-1591.

use std::sync::Arc;

use client::Object;
use serde_json::Value;

use crate::fields::text;
use crate::pod;

/// The update of one DaemonSet, node by node.
#[derive(Default)]
pub(super) struct Surge<'a> {
    /// Nodes where both pods are, and the new one is waited for.
    waiting: usize,
    /// Nodes whose old pod serves nobody.
    at_once: Vec<&'a str>,
    /// Nodes whose old pod works.
    candidates: Vec<&'a str>,
    pub delete: Vec<&'a Arc<Object>>,
}

/// How many nodes may have two at once, and what is meant where nothing is said.
const SURGE: (&str, i64) = ("maxSurge", 0);

/// The strategy allows two pods on a node.
pub(super) fn is_allowed(set: &Value) -> bool {
    text(set, "/spec/updateStrategy/type") == "RollingUpdate" && most(set, SURGE, 100) > 0
}

/// How many nodes the strategy gives for an end; a percentage is of the nodes that are wanted, rounded up.
pub(super) fn most(set: &Value, (field, otherwise): (&str, i64), desired: i64) -> i64 {
    match &set["spec"]["updateStrategy"]["rollingUpdate"][field] {
        Value::String(percent) => {
            let percent: i64 = percent.trim_end_matches('%').parse().unwrap_or(0);
            desired.saturating_mul(percent).saturating_add(99) / 100
        }
        number => number.as_i64().unwrap_or(otherwise),
    }
}

impl<'a> Surge<'a> {
    /// Looks at the pods of a node that may stay, oldest first, by whether they are of the new template.
    pub(super) fn add(
        &mut self,
        node: &'a str,
        (old, new): (Vec<&'a Arc<Object>>, Vec<&'a Arc<Object>>),
        available: impl Fn(&Value) -> bool,
    ) {
        self.delete.extend(old.iter().skip(1).chain(new.iter().skip(1)));
        match (old.first(), new.first()) {
            (Some(old), Some(new)) if !pod::is_ready(old.value()) || available(new.value()) => {
                self.delete.push(old);
            }
            (Some(_), Some(_)) => self.waiting += 1,
            (Some(old), None) if available(old.value()) => self.candidates.push(node),
            (Some(_), None) => self.at_once.push(node),
            (None, _) => {}
        }
    }

    /// The nodes that get a second pod now.
    pub(super) fn nodes(&self, set: &Value, desired: i64) -> impl Iterator<Item = &'a str> {
        let room = usize::try_from(most(set, SURGE, desired)).unwrap_or(0).saturating_sub(self.waiting);
        self.at_once.clone().into_iter().chain(self.candidates.clone().into_iter().take(room))
    }
}

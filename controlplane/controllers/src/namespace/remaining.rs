//! What is left in a namespace that ends, as its conditions tell it. Pure.
//!
//! Reference: upstream's pkg/controller/namespace/deletion, whose words these are.

use std::collections::BTreeMap;

use api::time::format_seconds;
use client::Resource;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fields::{list, text};

/// What was found after everything was told to go.
#[derive(Debug, Default)]
pub(super) struct Remaining {
    /// `resource.group` and how many.
    objects: BTreeMap<String, usize>,
    /// Finalizers and how many objects each holds.
    finalizers: BTreeMap<String, usize>,
    failures: Vec<String>,
}

impl Remaining {
    /// What is still there of a kind.
    pub(super) fn note(&mut self, resource: &Resource, objects: &[Value]) {
        if objects.is_empty() {
            return;
        }
        self.objects.insert(format!("{}.{}", resource.plural, resource.group), objects.len());
        for finalizer in objects.iter().flat_map(|object| list(object, "/metadata/finalizers")) {
            *self.finalizers.entry(finalizer.as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }

    /// A kind that could not be deleted.
    pub(super) fn failed(&mut self, why: &str) {
        self.failures.push(why.to_owned());
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.objects.is_empty() && self.failures.is_empty()
    }

    /// Why some kinds could not be deleted.
    pub(super) fn failure(&self) -> Option<String> {
        let count = self.failures.len();
        (count > 0).then(|| {
            format!("Failed to delete all resource types, {count} remaining: {}", self.failures.join(", "))
        })
    }

    /// The conditions as they should be; `None` if they say it already.
    pub(super) fn conditions(&self, known: &[Value], now: Timestamp) -> Option<Vec<Value>> {
        let wanted = [
            said(
                "NamespaceDeletionDiscoveryFailure",
                None,
                "ResourcesDiscovered",
                "All resources successfully discovered",
            ),
            said(
                "NamespaceDeletionGroupVersionParsingFailure",
                None,
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
            ),
            said(
                "NamespaceDeletionContentFailure",
                self.failure().map(|why| ("ContentDeletionFailed", why)),
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
            said(
                "NamespaceContentRemaining",
                counted(&self.objects, "has")
                    .map(|what| ("SomeResourcesRemain", format!("Some resources are remaining: {what}"))),
                "ContentRemoved",
                "All content successfully removed",
            ),
            said(
                "NamespaceFinalizersRemaining",
                counted(&self.finalizers, "in").map(|what| {
                    let message = format!("Some content in the namespace has finalizers remaining: {what}");
                    ("SomeFinalizersRemain", message)
                }),
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished",
            ),
        ];
        let mut conditions = known.to_vec();
        let mut changed = false;
        for mut wanted in wanted {
            let place = conditions.iter().position(|condition| condition["type"] == wanted["type"]);
            let same = |known: &Value| {
                ["/status", "/reason", "/message"].iter().all(|at| text(known, at) == text(&wanted, at))
            };
            if place.is_some_and(|place| same(&conditions[place])) {
                continue;
            }
            wanted["lastTransitionTime"] = format_seconds(now).into();
            changed = true;
            match place {
                Some(place) => conditions[place] = wanted,
                None => conditions.push(wanted),
            }
        }
        changed.then_some(conditions)
    }
}

/// `a.b has 2 resource instances, ...`; `None` where there is nothing.
fn counted(all: &BTreeMap<String, usize>, verb: &str) -> Option<String> {
    let each: Vec<String> =
        all.iter().map(|(what, count)| format!("{what} {verb} {count} resource instances")).collect();
    (!each.is_empty()).then(|| each.join(", "))
}

fn said(kind: &str, wrong: Option<(&str, String)>, fine: &str, message: &str) -> Value {
    match wrong {
        Some((reason, message)) => {
            json!({"type": kind, "status": "True", "reason": reason, "message": message})
        }
        None => json!({"type": kind, "status": "False", "reason": fine, "message": message}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_what_is_left_and_once() {
        let mut remaining = Remaining::default();
        assert!(remaining.is_nothing());
        let held = json!({"metadata": {"name": "a", "finalizers": ["x.y/z"]}});
        remaining.note(&Resource::PODS, &[held.clone(), json!({"metadata": {"name": "b"}}), held]);
        remaining.note(&Resource::REPLICA_SETS, &[]);
        let now = Timestamp::UNIX_EPOCH;
        let said = remaining.conditions(&[], now).expect("something is new");
        let of = |kind: &str| {
            let found = said.iter().find(|condition| condition["type"] == kind).expect("each is there");
            (text(found, "/status"), text(found, "/reason"), text(found, "/message"))
        };
        let message = "Some resources are remaining: pods. has 3 resource instances";
        assert_eq!(of("NamespaceContentRemaining"), ("True", "SomeResourcesRemain", message));
        let message = "Some content in the namespace has finalizers remaining: x.y/z in 2 resource instances";
        assert_eq!(of("NamespaceFinalizersRemaining"), ("True", "SomeFinalizersRemain", message));
        assert_eq!(of("NamespaceDeletionContentFailure").0, "False");
        assert_eq!(said.len(), 5);
        assert_eq!(remaining.conditions(&said, now), None, "nothing is new");
        remaining.failed("pods is forbidden");
        let later = remaining.conditions(&said, now).expect("a failure is new");
        let failed =
            later.iter().find(|one| one["type"] == "NamespaceDeletionContentFailure").expect("it is there");
        assert_eq!(failed["message"], "Failed to delete all resource types, 1 remaining: pods is forbidden");
    }
}

//! To whom the claims of a StatefulSet's pods belong. Pure.
//!
//! ```text
//!   whenDeleted: Delete ─► the claim belongs to the set, and goes with it
//!   whenScaled:  Delete ─► the claim of a pod that is too many belongs to that pod, and goes with it
//! ```
//!
//! **Invariant**: a claim that somebody else controls is left alone.
//!
//! Reference: KEP-1847.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::meta::Meta;
use client::{Object, Resource};
use serde_json::Value;

use super::plan::{Step, ordinal};
use super::pod_of::claim_names;
use crate::fields::{controller_reference, int, list, text};

const POLICY: &str = "/spec/persistentVolumeClaimRetentionPolicy";

fn deletes(set: &Value, when: &str) -> bool {
    text(set, &format!("{POLICY}/{when}")) == "Delete"
}

/// An ordinal that the set has now.
fn in_range(set: &Value, number: i64) -> bool {
    let first = int(set, "/spec/ordinals/start");
    (first..first + int(set, "/spec/replicas")).contains(&number)
}

/// The owner of a new claim, whose pod is in range.
pub(super) fn owner_of_new(set: &Value) -> Option<Value> {
    deletes(set, "whenDeleted").then(|| controller_reference(&Resource::STATEFUL_SETS, set))
}

/// Claims of pods that are there and belong to the wrong one.
pub(super) fn steps(set: &Value, pods: &[Arc<Object>], claims: &[Arc<Object>]) -> Vec<Step> {
    let mut steps = Vec::new();
    for pod in pods {
        let Some(number) = ordinal(Meta::of(set).name(), &pod.key.name) else { continue };
        let owner = match in_range(set, number) {
            true => owner_of_new(set),
            false if deletes(set, "whenScaled") => Some(controller_reference(&Resource::PODS, pod.value())),
            false => owner_of_new(set),
        };
        for name in claim_names(set, number) {
            let Some(claim) = claims.iter().find(|claim| claim.key.name == name) else { continue };
            if let Some(owners) = owners(set, pod, claim.value(), owner.as_ref()) {
                steps.push(Step::Own { claim: claim.clone(), owners });
            }
        }
    }
    steps
}

/// The owners that a claim should have, if it has not.
fn owners(set: &Value, pod: &Object, claim: &Value, owner: Option<&Value>) -> Option<Vec<Value>> {
    let known = list(claim, "/metadata/ownerReferences");
    let ours = |reference: &Value| {
        let uid = reference["uid"].as_str().unwrap_or_default();
        uid == Meta::of(set).uid() || uid == pod.uid
    };
    if known.iter().any(|reference| reference["controller"] == true && !ours(reference)) {
        return None;
    }
    let mut wanted: Vec<Value> = known.iter().filter(|reference| !ours(reference)).cloned().collect();
    wanted.extend(owner.cloned());
    let uids = |all: &[Value]| all.iter().map(|one| one["uid"].to_string()).collect::<BTreeSet<_>>();
    (uids(&wanted) != uids(known)).then_some(wanted)
}

/// Ordinals whose claims go with a pod that is gone: a new pod waits for new claims.
pub(super) fn stale(set: &Value, pods: &[Arc<Object>], claims: &[Arc<Object>]) -> BTreeSet<i64> {
    let name = Meta::of(set).name();
    let mut all = BTreeSet::new();
    for claim in claims {
        for owner in list(claim.value(), "/metadata/ownerReferences") {
            let Some(number) = ordinal(name, text(owner, "/name")).filter(|_| owner["kind"] == "Pod") else {
                continue;
            };
            let is_gone = !pods.iter().any(|pod| Some(pod.uid.as_str()) == owner["uid"].as_str());
            if is_gone && claim_names(set, number).any(|name| name == claim.key.name) {
                all.insert(number);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(deleted: &str, scaled: &str) -> Value {
        json!({"metadata": {"name": "w", "namespace": "n", "uid": "W"}, "spec": {"replicas": 1,
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled},
            "volumeClaimTemplates": [{"metadata": {"name": "d"}}]}})
    }

    fn pod(number: i64) -> Arc<Object> {
        let name = format!("w-{number}");
        let pod = json!({"metadata": {"name": name, "namespace": "n", "uid": name}});
        Arc::new(Object::of(&Resource::PODS, pod))
    }

    fn claim(number: i64, owners: &[&str]) -> Arc<Object> {
        let owners: Vec<Value> = owners
            .iter()
            .map(|uid| json!({"uid": uid, "kind": if *uid == "W" { "StatefulSet" } else { "Pod" }, "name": uid, "controller": true}))
            .collect();
        let claim = json!({"metadata": {"name": format!("d-w-{number}"), "namespace": "n", "ownerReferences": owners}});
        Arc::new(Object::of(&Resource::VOLUME_CLAIMS, claim))
    }

    /// What becomes of the claims of a pod that stays and of one that is too many.
    fn check(policy: (&str, &str), before: [&[&str]; 2], expect: [Option<&[&str]>; 2]) {
        let claims = [claim(0, before[0]), claim(1, before[1])];
        let steps = steps(&set(policy.0, policy.1), &[pod(0), pod(1)], &claims);
        let of = |number: i64| {
            steps.iter().find_map(|step| match step {
                Step::Own { claim, owners } if claim.key.name == format!("d-w-{number}") => {
                    Some(owners.iter().map(|owner| text(owner, "/uid").to_owned()).collect::<Vec<_>>())
                }
                _ => None,
            })
        };
        for (number, expect) in expect.iter().enumerate() {
            let wanted = expect.map(|uids| uids.iter().map(|uid| (*uid).to_owned()).collect());
            assert_eq!(of(number as i64), wanted, "{policy:?} {number}");
        }
    }

    #[test]
    fn owners_follow_the_policy() {
        check(("Retain", "Retain"), [&[], &[]], [None, None]);
        check(("Retain", "Retain"), [&["W"], &["w-1"]], [Some(&[]), Some(&[])]);
        check(("Delete", "Retain"), [&[], &["W"]], [Some(&["W"]), None]);
        check(("Retain", "Delete"), [&[], &[]], [None, Some(&["w-1"])]);
        check(("Delete", "Delete"), [&["W"], &["W"]], [None, Some(&["w-1"])]);
        // Scaled up again before the pod went.
        check(("Retain", "Delete"), [&["w-0"], &["w-1"]], [Some(&[]), None]);
        // Somebody else's.
        check(("Delete", "Delete"), [&["other"], &["other"]], [None, None]);
    }

    #[test]
    fn a_claim_that_goes_is_waited_for() {
        let set = set("Retain", "Delete");
        assert_eq!(stale(&set, &[], &[claim(0, &["w-0"]), claim(1, &["W"])]), BTreeSet::from([0]));
        assert_eq!(stale(&set, &[pod(0)], &[claim(0, &["w-0"])]), BTreeSet::new());
    }
}

//! What to do about a StatefulSet's pods. Pure.
//!
//! Pods come in the order of their ordinals and go in the opposite one; unless all may at once, each waits for the one
//! before it to be ready. An update goes from the last ordinal to the first and stops at the partition, as many at once as
//! may be unavailable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use client::{Key, Object};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::retention;
use crate::fields::{int, is_deleting, list, text};
use crate::history;
use crate::pod;

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A claim belongs to others than it says.
    Own {
        claim: Arc<Object>,
        owners: Vec<Value>,
    },
    /// A pod of the revision, and its claims before it.
    Create {
        ordinal: i64,
        revision: String,
    },
    Delete {
        pod: Key,
        uid: String,
    },
    /// It has ended: it makes room for a new one.
    Replace {
        pod: Key,
        uid: String,
        failed: bool,
    },
}

pub(super) struct Plan {
    pub steps: Vec<Step>,
    pub status: Option<Value>,
    pub look_again: Option<Duration>,
}

/// The number at the end of a pod's name, if it is one of the set's.
pub(super) fn ordinal(set: &str, pod: &str) -> Option<i64> {
    let digits = pod.strip_prefix(set)?.strip_prefix('-')?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// The revision that a pod was made from.
pub(super) fn revision_of(pod: &Value) -> &str {
    pod["metadata"]["labels"][history::POD_LABEL].as_str().unwrap_or_default()
}

struct Set<'a> {
    value: &'a Value,
    name: &'a str,
    first: i64,
    replicas: i64,
    current: String,
    update: &'a str,
    /// Ordinals whose claims are about to go.
    stale: BTreeSet<i64>,
    now: Timestamp,
}

pub(super) struct Observed<'a> {
    /// The pods that are its own.
    pub pods: &'a [Arc<Object>],
    /// The claims of the namespace.
    pub claims: &'a [Arc<Object>],
    /// The revision of the template as it is now.
    pub update: &'a str,
    pub now: Timestamp,
}

pub(super) fn plan(set: &Value, observed: &Observed<'_>) -> Plan {
    let Observed { pods, claims, update, now } = *observed;
    let owned = retention::steps(set, pods, claims);
    let set = Set {
        value: set,
        name: text(set, "/metadata/name"),
        first: int(set, "/spec/ordinals/start"),
        replicas: int(set, "/spec/replicas"),
        current: match text(set, "/status/currentRevision") {
            "" => update.to_owned(),
            current => current.to_owned(),
        },
        update,
        stale: retention::stale(set, pods, claims),
        now,
    };
    let mut there: BTreeMap<i64, &Arc<Object>> = BTreeMap::new();
    let mut odd = Vec::new();
    for pod in pods {
        match ordinal(set.name, &pod.key.name) {
            Some(number) => drop(there.insert(number, pod)),
            None => odd.push(pod),
        }
    }
    let mut steps = owned;
    steps.extend(odd.into_iter().filter(|pod| !is_deleting(pod.value())).map(gone));
    steps.extend(set.steps(&there));
    let wait = |pod: &Arc<Object>| pod::until_available(pod.value(), set.min_ready(), now);
    let waits = pods.iter().filter_map(wait).filter(|wait| wait.is_positive());
    let look_again = waits.min().map(|wait| wait.unsigned_abs() + Duration::from_secs(1));
    Plan { steps, status: set.status(pods), look_again }
}

fn gone(pod: &Arc<Object>) -> Step {
    Step::Delete { pod: pod.key.clone(), uid: pod.uid.clone() }
}

impl Set<'_> {
    fn min_ready(&self) -> i64 {
        int(self.value, "/spec/minReadySeconds")
    }

    fn is_available(&self, pod: &Value) -> bool {
        text(pod, "/status/phase") == "Running"
            && pod::until_available(pod, self.min_ready(), self.now).is_some_and(|left| left.is_zero())
    }

    fn is_healthy(&self, pod: &Value) -> bool {
        self.is_available(pod) && !is_deleting(pod)
    }

    fn last(&self) -> i64 {
        self.first + self.replicas
    }

    fn steps(&self, there: &BTreeMap<i64, &Arc<Object>>) -> Vec<Step> {
        let in_order = text(self.value, "/spec/podManagementPolicy") != "Parallel";
        let mut steps = Vec::new();
        for number in self.first..self.last() {
            let Some(pod) = there.get(&number) else {
                if !self.stale.contains(&number) {
                    steps.push(Step::Create { ordinal: number, revision: self.revision_for(number) });
                }
                if in_order {
                    return steps;
                }
                continue;
            };
            let value = pod.value();
            if pod::is_over(value) {
                if !is_deleting(value) {
                    let failed = text(value, "/status/phase") == "Failed";
                    steps.push(Step::Replace { pod: pod.key.clone(), uid: pod.uid.clone(), failed });
                }
                if in_order {
                    return steps;
                }
            } else if in_order && !self.is_healthy(value) {
                return steps;
            }
        }
        let condemned =
            there.iter().rev().filter(|(number, _)| **number < self.first || **number >= self.last());
        let first_unhealthy =
            there.iter().find(|(_, pod)| !self.is_healthy(pod.value())).map(|(number, _)| *number);
        let mut any = false;
        for (number, pod) in condemned {
            any = true;
            if is_deleting(pod.value()) {
                if in_order {
                    return steps;
                }
                continue;
            }
            // One that is not ready goes only if it is the first of those that are not.
            if in_order && !self.is_available(pod.value()) && first_unhealthy != Some(*number) {
                return steps;
            }
            steps.push(gone(pod));
            if in_order {
                return steps;
            }
        }
        if !any || !in_order {
            steps.extend(self.update_steps(there));
        }
        steps
    }

    /// The next pods that are replaced by ones of the new revision.
    fn update_steps(&self, there: &BTreeMap<i64, &Arc<Object>>) -> Vec<Step> {
        let most = self.most_unavailable();
        if text(self.value, "/spec/updateStrategy/type") == "OnDelete" {
            return Vec::new();
        }
        let stop = self.first + self.partition();
        if most == 1 {
            return self.next_update(there, stop).into_iter().collect();
        }
        let healthy = |number: &i64| there.get(number).is_some_and(|pod| self.is_healthy(pod.value()));
        let unavailable = (self.first..self.last()).filter(|number| !healthy(number)).count();
        let old = (stop..self.last())
            .rev()
            .filter_map(|number| there.get(&number))
            .filter(|pod| revision_of(pod.value()) != self.update && !is_deleting(pod.value()));
        old.take(most.saturating_sub(unavailable)).map(|pod| gone(pod)).collect()
    }

    /// One after the other: each waits for the one before it.
    fn next_update(&self, there: &BTreeMap<i64, &Arc<Object>>, stop: i64) -> Option<Step> {
        for number in (stop..self.last()).rev() {
            let pod = there.get(&number)?;
            if revision_of(pod.value()) != self.update && !is_deleting(pod.value()) {
                return Some(gone(pod));
            }
            if !self.is_healthy(pod.value()) {
                return None;
            }
        }
        None
    }

    /// A percentage is of the replicas and rounded down; never none at all.
    fn most_unavailable(&self) -> usize {
        let most = match &self.value["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] {
            Value::String(percent) => {
                let percent: i64 = percent.trim_end_matches('%').parse().unwrap_or(0);
                percent.saturating_mul(self.replicas) / 100
            }
            number => number.as_i64().unwrap_or(1),
        };
        usize::try_from(most).unwrap_or(1).max(1)
    }

    fn partition(&self) -> i64 {
        int(self.value, "/spec/updateStrategy/rollingUpdate/partition")
    }

    /// Which revision a new pod of an ordinal is made from.
    fn revision_for(&self, number: i64) -> String {
        let rolling = text(self.value, "/spec/updateStrategy/type") != "OnDelete";
        if rolling && number < self.first + self.partition() {
            self.current.clone()
        } else {
            self.update.to_owned()
        }
    }

    fn status(&self, pods: &[Arc<Object>]) -> Option<Value> {
        let own = || pods.iter().map(|pod| pod.value()).filter(|pod| !pod::is_over(pod));
        let of =
            |revision: &str| own().filter(|pod| !is_deleting(pod) && revision_of(pod) == revision).count();
        let ready = own().filter(|pod| text(pod, "/status/phase") == "Running" && pod::is_ready(pod)).count();
        let available = own().filter(|pod| self.is_available(pod)).count();
        let (replicas, updated) = (own().count(), of(self.update));
        let (mut current, mut current_count) = (self.current.as_str(), of(&self.current));
        let rolling = text(self.value, "/spec/updateStrategy/type") != "OnDelete";
        if rolling && updated == replicas && ready == replicas && updated as i64 == self.replicas {
            (current, current_count) = (self.update, updated);
        }
        let mut fresh = Map::new();
        fresh.insert("observedGeneration".into(), int(self.value, "/metadata/generation").into());
        fresh.insert("replicas".into(), replicas.into());
        for (name, count) in
            [("readyReplicas", ready), ("currentReplicas", current_count), ("updatedReplicas", updated)]
        {
            if count > 0 {
                fresh.insert(name.into(), count.into());
            }
        }
        fresh.insert("currentRevision".into(), current.into());
        fresh.insert("updateRevision".into(), self.update.into());
        fresh.insert("collisionCount".into(), int(self.value, "/status/collisionCount").into());
        fresh.insert("availableReplicas".into(), available.into());
        let conditions = list(self.value, "/status/conditions");
        if !conditions.is_empty() {
            fresh.insert("conditions".into(), conditions.to_vec().into());
        }
        let fresh = Value::Object(fresh);
        (self.value.get("status") != Some(&fresh)).then_some(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::Resource;
    use serde_json::json;

    fn set(replicas: i64, more: Value) -> Value {
        let mut set = json!({"metadata": {"name": "w", "namespace": "n", "generation": 1}, "spec": {"replicas": replicas,
            "podManagementPolicy": "OrderedReady", "updateStrategy": {"type": "RollingUpdate"}},
            "status": {"currentRevision": "w-1"}});
        for (name, value) in more.as_object().into_iter().flatten() {
            set["spec"][name] = value.clone();
        }
        set
    }

    fn pod(name: &str, revision: &str, ready: bool) -> Arc<Object> {
        let status = if ready { "True" } else { "False" };
        Arc::new(Object::of(
            &Resource::PODS,
            json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"controller-revision-hash": revision}},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]}}),
        ))
    }

    fn check(set: &Value, pods: &[Arc<Object>], expect: &[&str]) -> Plan {
        let observed = Observed { pods, claims: &[], update: "w-2", now: Timestamp::UNIX_EPOCH };
        let plan = plan(set, &observed);
        let shown: Vec<String> = plan
            .steps
            .iter()
            .map(|step| match step {
                Step::Create { ordinal, revision } => format!("+{ordinal} {revision}"),
                Step::Delete { pod, .. } => format!("-{}", pod.name),
                Step::Replace { pod, .. } => format!("~{}", pod.name),
                Step::Own { claim, .. } => format!("={}", claim.key.name),
            })
            .collect();
        assert_eq!(shown, expect);
        plan
    }

    #[test]
    fn one_after_the_other() {
        check(&set(2, json!({})), &[], &["+0 w-2"]);
        check(&set(2, json!({})), &[pod("w-0", "w-2", false)], &[]);
        check(&set(2, json!({})), &[pod("w-0", "w-2", true)], &["+1 w-2"]);
        check(&set(2, json!({"podManagementPolicy": "Parallel"})), &[], &["+0 w-2", "+1 w-2"]);
        check(&set(1, json!({"ordinals": {"start": 3}})), &[], &["+3 w-2"]);
        let pods = [pod("w-0", "w-2", true), pod("w-1", "w-2", true), pod("w-2", "w-2", true)];
        check(&set(1, json!({})), &pods, &["-w-2"]);
        check(&set(1, json!({"podManagementPolicy": "Parallel"})), &pods, &["-w-2", "-w-1"]);
    }

    #[test]
    fn an_update_goes_backwards_to_the_partition() {
        let old = [pod("w-0", "w-1", true), pod("w-1", "w-1", true)];
        check(&set(2, json!({})), &old, &["-w-1"]);
        let half = [pod("w-0", "w-1", true), pod("w-1", "w-2", false)];
        check(&set(2, json!({})), &half, &[]);
        let half = [pod("w-0", "w-1", true), pod("w-1", "w-2", true)];
        let partition =
            |n: i64| json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": n}}});
        check(&set(2, json!({})), &half, &["-w-0"]);
        check(&set(2, partition(1)), &half, &[]);
        check(&set(2, partition(1)), &half[1..], &["+0 w-1"]);
        check(&set(2, json!({"updateStrategy": {"type": "OnDelete"}})), &old, &[]);
        let done = [pod("w-0", "w-2", true), pod("w-1", "w-2", true)];
        let status = check(&set(2, json!({})), &done, &[]).status.unwrap();
        assert_eq!((&status["currentRevision"], &status["updatedReplicas"]), (&json!("w-2"), &json!(2)));
    }

    #[test]
    fn an_update_takes_as_many_at_once_as_may_be_missing() {
        let many = |most: Value| {
            json!({"podManagementPolicy": "Parallel", "updateStrategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": most, "partition": 1}}})
        };
        let old: Vec<_> = (0..4).map(|number| pod(&format!("w-{number}"), "w-1", true)).collect();
        check(&set(4, many(json!(2))), &old, &["-w-3", "-w-2"]);
        check(&set(4, many(json!("60%"))), &old, &["-w-3", "-w-2"]);
        check(&set(4, many(json!("10%"))), &old, &["-w-3"]);
        check(&set(4, many(json!(9))), &old, &["-w-3", "-w-2", "-w-1"]);
        let mut one = old.clone();
        one[3] = pod("w-3", "w-2", false);
        check(&set(4, many(json!(2))), &one, &["-w-2"]);
    }

    #[test]
    fn a_pod_waits_for_a_claim_that_goes() {
        let set = set(1, json!({"volumeClaimTemplates": [{"metadata": {"name": "d"}}]}));
        let owner = json!([{"kind": "Pod", "name": "w-0", "uid": "gone"}]);
        let claim = json!({"metadata": {"name": "d-w-0", "namespace": "n", "ownerReferences": owner}});
        let claims = [Arc::new(Object::of(&Resource::VOLUME_CLAIMS, claim))];
        let now = Timestamp::UNIX_EPOCH;
        assert!(plan(&set, &Observed { pods: &[], claims: &claims, update: "w-2", now }).steps.is_empty());
    }

    #[test]
    fn one_that_has_ended_is_replaced() {
        let mut ended = pod("w-0", "w-2", false).value().clone();
        ended["status"]["phase"] = "Failed".into();
        check(&set(1, json!({})), &[Arc::new(Object::of(&Resource::PODS, ended))], &["~w-0"]);
        assert_eq!(ordinal("w", "w-12"), Some(12));
        assert_eq!(ordinal("w", "w-x-1"), None);
    }
}

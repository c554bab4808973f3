//! The status of a PodDisruptionBudget. Pure.

use std::sync::Arc;
use std::time::Duration;

use api::time::format_seconds;
use client::Object;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::fields::{int, is_deleting, list, time};
use crate::pod;

/// An eviction that was granted counts as done for this long, if the pod does not go.
const GRANTED: SignedDuration = SignedDuration::from_secs(120);

pub(super) struct Observed {
    /// The pods that the budget selects.
    pub pods: Vec<Arc<Object>>,
    /// How many pods their controllers want.
    pub replicas: Option<i64>,
    pub now: Timestamp,
}

pub(super) struct Plan {
    pub status: Option<Value>,
    pub look_again: Option<Duration>,
}

pub(super) fn plan(budget: &Value, observed: &Observed) -> Plan {
    let (granted, look_again) = granted(budget, observed);
    let pods: Vec<&Arc<Object>> = observed.pods.iter().filter(|pod| !pod::is_over(pod.value())).collect();
    let healthy = pods
        .iter()
        .filter(|pod| {
            !is_deleting(pod.value()) && pod::is_ready(pod.value()) && !granted.contains_key(&pod.key.name)
        })
        .count() as i64;
    let spec = &budget["spec"];
    let (expected, desired) = match (&spec["maxUnavailable"], &spec["minAvailable"]) {
        (Value::Null, Value::Number(least)) => (pods.len() as i64, least.as_i64().unwrap_or(0)),
        (Value::Null, Value::Null) => (pods.len() as i64, 0),
        (Value::Null, least) => {
            let expected = observed.replicas.unwrap_or(0);
            (expected, part(least, expected))
        }
        (most, _) => {
            let expected = observed.replicas.unwrap_or(0);
            (expected, (expected - part(most, expected)).max(0))
        }
    };
    let known = observed.replicas.is_some()
        || matches!(
            (&spec["maxUnavailable"], &spec["minAvailable"]),
            (Value::Null, Value::Number(_) | Value::Null)
        );
    let allowed = if expected > 0 && known { (healthy - desired).max(0) } else { 0 };
    let mut fresh = Map::new();
    fresh.insert("observedGeneration".into(), int(budget, "/metadata/generation").into());
    if !granted.is_empty() {
        fresh.insert("disruptedPods".into(), granted.into());
    }
    for (name, count) in [
        ("disruptionsAllowed", allowed),
        ("currentHealthy", healthy),
        ("desiredHealthy", desired),
        ("expectedPods", expected),
    ] {
        fresh.insert(name.into(), count.into());
    }
    fresh.insert("conditions".into(), conditions(budget, allowed, known, observed.now));
    let fresh = Value::Object(fresh);
    Plan { status: (budget.get("status") != Some(&fresh)).then_some(fresh), look_again }
}

/// A number, or a percentage rounded up.
fn part(of: &Value, whole: i64) -> i64 {
    match of {
        Value::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            (whole * percent + 99) / 100
        }
        number => number.as_i64().unwrap_or(0),
    }
}

/// Evictions that were granted and whose pods are still there, and when the next of them lapses.
fn granted(budget: &Value, observed: &Observed) -> (Map<String, Value>, Option<Duration>) {
    let mut kept = Map::new();
    let mut next: Option<Duration> = None;
    for (name, since) in budget["status"]["disruptedPods"].as_object().into_iter().flatten() {
        let there = observed.pods.iter().any(|pod| pod.key.name == *name && !is_deleting(pod.value()));
        let left = GRANTED - observed.now.duration_since(time(&json!({"t": since}), "/t"));
        if there && left.is_positive() {
            kept.insert(name.clone(), since.clone());
            next = Some(next.map_or(left.unsigned_abs(), |next| next.min(left.unsigned_abs())));
        }
    }
    (kept, next)
}

fn conditions(budget: &Value, allowed: i64, known: bool, now: Timestamp) -> Value {
    const KIND: &str = "DisruptionAllowed";
    let (status, reason) = match (known, allowed > 0) {
        (false, _) => ("False", "SyncFailed"),
        (true, true) => ("True", "SufficientPods"),
        (true, false) => ("False", "InsufficientPods"),
    };
    let mut all = list(budget, "/status/conditions").to_vec();
    let before = all.iter().position(|condition| condition["type"] == KIND);
    let since = match before.map(|at| &all[at]) {
        Some(known) if known["status"] == status => known["lastTransitionTime"].clone(),
        _ => format_seconds(now).into(),
    };
    let condition = json!({"type": KIND, "status": status, "observedGeneration": int(budget, "/metadata/generation"),
        "lastTransitionTime": since, "reason": reason, "message": ""});
    match before {
        Some(at) => all[at] = condition,
        None => all.push(condition),
    }
    all.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::Resource;

    fn pod(name: &str, ready: bool) -> Arc<Object> {
        let status = if ready { "True" } else { "False" };
        let pod = json!({"metadata": {"name": name, "namespace": "n", "uid": name},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]}});
        Arc::new(Object::of(&Resource::PODS, pod))
    }

    fn check(spec: Value, ready: usize, broken: usize, replicas: Option<i64>, expect: (i64, i64, i64, i64)) {
        let pods = (0..ready + broken).map(|n| pod(&n.to_string(), n < ready)).collect();
        let observed = Observed { pods, replicas, now: Timestamp::UNIX_EPOCH };
        let budget = json!({"metadata": {"generation": 1}, "spec": spec});
        let status = plan(&budget, &observed).status.unwrap();
        let count = |name: &str| status[name].as_i64().unwrap();
        let got = (
            count("disruptionsAllowed"),
            count("currentHealthy"),
            count("desiredHealthy"),
            count("expectedPods"),
        );
        assert_eq!(got, expect, "{spec}", spec = budget["spec"]);
    }

    #[test]
    fn how_many_may_go() {
        check(json!({"minAvailable": 2}), 3, 0, None, (1, 3, 2, 3));
        check(json!({"minAvailable": 2}), 1, 1, None, (0, 1, 2, 2));
        check(json!({"minAvailable": "50%"}), 3, 0, Some(3), (1, 3, 2, 3));
        check(json!({"maxUnavailable": 1}), 2, 1, Some(3), (0, 2, 2, 3));
        check(json!({"maxUnavailable": "50%"}), 4, 0, Some(4), (2, 4, 2, 4));
        check(json!({"maxUnavailable": 1}), 2, 0, None, (0, 2, 0, 0));
        check(json!({"minAvailable": 0}), 0, 0, Some(0), (0, 0, 0, 0));
    }

    #[test]
    fn a_granted_eviction_counts_for_two_minutes() {
        let budget = |since: &str| json!({"metadata": {}, "spec": {"minAvailable": 1}, "status": {"disruptedPods": {"0": since}}});
        let now: Timestamp = "2026-01-01T00:02:30Z".parse().unwrap();
        let observed = Observed { pods: vec![pod("0", true), pod("1", true)], replicas: None, now };
        let plan_at = |since: &str| plan(&budget(since), &observed);
        let fresh = plan_at("2026-01-01T00:01:00Z");
        assert_eq!(fresh.status.unwrap()["disruptionsAllowed"], 0);
        assert_eq!(fresh.look_again, Some(Duration::from_secs(30)));
        assert_eq!(plan_at("2026-01-01T00:00:00Z").status.unwrap()["disruptionsAllowed"], 1);
    }
}

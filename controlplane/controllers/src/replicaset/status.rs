//! A ReplicaSet's status. Pure.

use std::sync::Arc;

use api::selector::LabelSelector;
use api::time::format_seconds;
use client::Object;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::execute::Failure;
use crate::fields::{condition, int, list, map};
use crate::pod;

/// The status as it should be; `None` if it is.
pub(super) fn status(
    set: &Value,
    owned: &[Arc<Object>],
    terminating: usize,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Option<Value> {
    let template = map(set, "/spec/template/metadata/labels")
        .map_or_else(LabelSelector::everything, LabelSelector::from_map);
    let min_ready = int(set, "/spec/minReadySeconds");
    let labelled =
        |pod: &&Arc<Object>| pod.meta().labels().map_or(template.is_everything(), |l| template.matches(l));
    let available = |pod: &&Arc<Object>| {
        pod::until_available(pod.value(), min_ready, now).is_some_and(|left| left.is_zero())
    };
    let mut fresh = Map::new();
    fresh.insert("replicas".into(), owned.len().into());
    for (field, count) in [
        ("fullyLabeledReplicas", owned.iter().filter(labelled).count()),
        ("readyReplicas", owned.iter().filter(|pod| pod::is_ready(pod.value())).count()),
        ("availableReplicas", owned.iter().filter(available).count()),
    ] {
        if count > 0 {
            fresh.insert(field.into(), count.into());
        }
    }
    if counts_terminating(set) {
        fresh.insert("terminatingReplicas".into(), terminating.into());
    }
    fresh.insert("observedGeneration".into(), int(set, "/metadata/generation").into());
    let conditions = conditions(set, failure, now);
    if !conditions.is_empty() {
        fresh.insert("conditions".into(), conditions.into());
    }
    let fresh = Value::Object(fresh);
    (set.get("status") != Some(&fresh)).then_some(fresh)
}

/// ReplicationControllers have no such number.
fn counts_terminating(set: &Value) -> bool {
    set["kind"] != "ReplicationController"
}

fn conditions(set: &Value, failure: Option<&Failure>, now: Timestamp) -> Vec<Value> {
    const FAILURE: &str = "ReplicaFailure";
    let mut conditions = list(set, "/status/conditions").to_vec();
    match (failure, condition(set, FAILURE)) {
        (Some(failure), None) => conditions.push(json!({
            "type": FAILURE, "status": "True", "lastTransitionTime": format_seconds(now),
            "reason": failure.reason, "message": failure.error.to_string(),
        })),
        (None, Some(_)) => conditions.retain(|condition| condition["type"] != FAILURE),
        _ => {}
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::Resource;

    #[test]
    fn counts() {
        let set = json!({"metadata": {"generation": 2}, "spec": {"minReadySeconds": 5,
            "template": {"metadata": {"labels": {"a": "b"}}}}});
        let pod = |label: &str, ready: &str, since: &str| {
            Arc::new(Object::of(
                &Resource::PODS,
                json!({"metadata": {"labels": {"a": label}}, "status": {
                "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}]}}),
            ))
        };
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        let pods = [
            pod("b", "True", "2026-01-01T00:00:00Z"),
            pod("b", "True", "2026-01-01T00:00:09Z"),
            pod("c", "False", "2026-01-01T00:00:00Z"),
        ];
        let expect = json!({"replicas": 3, "fullyLabeledReplicas": 2, "readyReplicas": 2, "availableReplicas": 1,
            "terminatingReplicas": 4, "observedGeneration": 2});
        assert_eq!(status(&set, &pods, 4, None, now), Some(expect.clone()));
        let mut current = set;
        current["status"] = expect;
        assert_eq!(status(&current, &pods, 4, None, now), None, "nothing to write");
        let controller = json!({"kind": "ReplicationController", "metadata": {"generation": 1}});
        let expect = json!({"replicas": 0, "observedGeneration": 1});
        assert_eq!(status(&controller, &[], 4, None, now), Some(expect));
    }
}

//! Deployments and ReplicaSets.

use serde_json::Value;

use super::{AGE, Column, NAME, age, containers, name, number, selector, text, wide};

pub(super) const DEPLOYMENT: &[Column] = &[
    NAME,
    text("Ready"),
    number("Up-to-date"),
    number("Available"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

pub(super) fn deployment(deployment: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let (spec, status) = (&deployment["spec"], &deployment["status"]);
    let [names, images] = containers(&spec["template"]);
    vec![
        name(deployment),
        format!("{}/{}", count(&status["readyReplicas"]), count(&spec["replicas"])).into(),
        count(&status["updatedReplicas"]).into(),
        count(&status["availableReplicas"]).into(),
        age(deployment, now),
        names,
        images,
        selector(spec.get("selector")),
    ]
}

pub(super) const REPLICA_SET: &[Column] = &[
    NAME,
    number("Desired"),
    number("Current"),
    number("Ready"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

pub(super) fn replica_set(set: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let (spec, status) = (&set["spec"], &set["status"]);
    let [names, images] = containers(&spec["template"]);
    vec![
        name(set),
        count(&spec["replicas"]).into(),
        count(&status["replicas"]).into(),
        count(&status["readyReplicas"]).into(),
        age(set, now),
        names,
        images,
        selector(spec.get("selector")),
    ]
}

fn count(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

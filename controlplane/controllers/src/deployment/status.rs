//! A Deployment's status: numbers and the Available condition. Pure.

use api::time::format_seconds;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::replicas::{allowance, counted, specified, wanted};
use crate::fields::{int, list};

/// Numbers from the sets, conditions as they are; `conditions` is changed by the caller afterwards.
pub(super) fn calculate(deployment: &Value, current: Option<&Value>, old: &[Value], now: Timestamp) -> Value {
    let all = || old.iter().chain(current);
    let available = counted(all(), "availableReplicas");
    let mut status = Map::new();
    status.insert("observedGeneration".into(), int(deployment, "/metadata/generation").into());
    for (field, count) in [
        ("replicas", counted(all(), "replicas")),
        ("updatedReplicas", counted(current, "replicas")),
        ("readyReplicas", counted(all(), "readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (specified(all()) - available).max(0)),
    ] {
        if count > 0 {
            status.insert(field.into(), count.into());
        }
    }
    // Said once every set says it.
    if all().all(|set| set["status"]["terminatingReplicas"].is_i64()) {
        status.insert("terminatingReplicas".into(), counted(all(), "terminatingReplicas").into());
    }
    if let Some(collisions) = deployment.pointer("/status/collisionCount") {
        status.insert("collisionCount".into(), collisions.clone());
    }
    let conditions = list(deployment, "/status/conditions").to_vec();
    if !conditions.is_empty() {
        status.insert("conditions".into(), conditions.into());
    }
    let mut status = Value::Object(status);
    if available >= wanted(deployment) - allowance(deployment).unavailable {
        let message = "Deployment has minimum availability.";
        set(&mut status, condition("Available", "True", "MinimumReplicasAvailable", message, now));
    } else {
        let message = "Deployment does not have minimum availability.";
        set(&mut status, condition("Available", "False", "MinimumReplicasUnavailable", message, now));
    }
    status
}

pub(super) fn condition(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> Value {
    let now = format_seconds(now);
    json!({"type": kind, "status": status, "lastUpdateTime": now, "lastTransitionTime": now,
        "reason": reason, "message": message})
}

pub(super) fn find<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    list(status, "/conditions").iter().find(|condition| condition["type"] == kind)
}

/// Sets a condition; one that says the same already stays as it is.
pub(super) fn set(status: &mut Value, mut fresh: Value) {
    let kind = fresh["type"].as_str().unwrap_or_default().to_owned();
    if let Some(known) = find(status, &kind) {
        if known["status"] == fresh["status"] && known["reason"] == fresh["reason"] {
            return;
        }
        if known["status"] == fresh["status"] {
            fresh["lastTransitionTime"] = known["lastTransitionTime"].clone();
        }
    }
    replace(status, &kind, Some(fresh));
}

/// Puts a condition last, or takes it away.
pub(super) fn replace(status: &mut Value, kind: &str, fresh: Option<Value>) {
    let mut conditions = list(status, "/conditions").to_vec();
    conditions.retain(|condition| condition["type"] != kind);
    conditions.extend(fresh);
    if conditions.is_empty() {
        if let Value::Object(fields) = status {
            fields.shift_remove("conditions");
        }
    } else {
        status["conditions"] = conditions.into();
    }
}

//! What has to be written so that the API has our status: only what differs.
//!
//! Strategic merge: conditions merge by type, so those of others stay; everything else is replaced.

use serde_json::{Map, Value, json};

use crate::resize::{IN_PROGRESS, PENDING};

/// Fields that the kubelet takes back when they no longer hold.
const REMOVABLE: &[&str] = &["reason", "message"];
/// Conditions that are there only for a while.
const PASSING: &[&str] = &[PENDING, IN_PROGRESS];

/// The changed fields of `status`; none where nothing differs.
pub fn difference(before: &Value, after: &Value) -> Option<Value> {
    let mut changed = Map::new();
    for (key, value) in after.as_object().into_iter().flatten() {
        if key == "conditions" {
            let conditions = conditions(&before[key], value);
            if !conditions.is_empty() {
                changed.insert(key.clone(), conditions.into());
            }
        } else if !same(&before[key], value) {
            changed.insert(key.clone(), value.clone());
        }
    }
    for key in REMOVABLE {
        if before.get(*key).is_some_and(|old| !old.is_null()) && after.get(*key).is_none() {
            changed.insert((*key).to_owned(), Value::Null);
        }
    }
    if changed.is_empty() { None } else { Some(Value::Object(changed)) }
}

fn conditions(before: &Value, after: &Value) -> Vec<Value> {
    let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    let old = list(before);
    let mut changed = Vec::new();
    for mut condition in list(after) {
        let known = old.iter().find(|known| known["type"] == condition["type"]);
        if known.is_some_and(|known| same(known, &condition)) {
            continue;
        }
        for key in REMOVABLE {
            if known.is_some_and(|known| known.get(*key).is_some()) && condition.get(*key).is_none() {
                condition[*key] = Value::Null;
            }
        }
        changed.push(condition);
    }
    let of = |list: &[Value], kind: &str| list.iter().any(|condition| condition["type"] == kind);
    let after = list(after);
    let passed = PASSING.iter().filter(|kind| of(&old, kind) && !of(&after, kind));
    changed.extend(passed.map(|kind| json!({"type": kind, "$patch": "delete"})));
    changed
}

/// Equal but for fields that are null or empty in one and absent in the other, which the API does not tell apart.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            let covered = |from: &Map<String, Value>, to: &Map<String, Value>| {
                from.iter().all(|(key, value)| match to.get(key) {
                    Some(twin) => same(value, twin),
                    None => is_nothing(value),
                })
            };
            covered(a, b) && b.iter().all(|(key, value)| a.contains_key(key) || is_nothing(value))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (a, b) => a == b || (is_nothing(a) && is_nothing(b)),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs() {
        let before = json!({"phase": "Pending", "reason": "Old", "hostIP": "10.0.0.1", "conditions": [
            {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "lastTransitionTime": "t"},
            {"type": "theirs", "status": "True"},
            {"type": "PodResizePending", "status": "True"},
            {"type": "Initialized", "status": "True", "lastProbeTime": null},
        ]});
        let after = json!({"phase": "Running", "hostIP": "10.0.0.1", "conditions": [
            {"type": "Initialized", "status": "True"},
            {"type": "Ready", "status": "True", "lastTransitionTime": "u"},
        ]});
        let expected = json!({"phase": "Running", "reason": null, "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "u", "reason": null},
            {"type": "PodResizePending", "$patch": "delete"},
        ]});
        assert_eq!(difference(&before, &after), Some(expected));
        assert_eq!(difference(&after, &after), None);
        assert_eq!(difference(&json!({"a": [{"b": {}}]}), &json!({"a": [{}]})), None);
    }
}

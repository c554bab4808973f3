//! What a node's conditions and its silence ask for. Pure.

use api::time::format_seconds;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fields::{condition, list, text};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that are bad when True, and their taints.
const PRESSURES: &[(&str, &str)] = &[
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];
/// Conditions that a kubelet reports, and nobody knows when it is silent.
const REPORTED: &[&str] = &["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Nobody knows these conditions any more.
    Unknown(Vec<Value>),
    /// All taints that the node shall have.
    Taint(Vec<Value>),
}

/// The node has said something about itself.
pub(super) fn has_status(node: &Value) -> bool {
    condition(node, "Ready").is_some()
}

/// Changes with every status that the kubelet posts.
pub(super) fn heartbeat(node: &Value) -> &str {
    condition(node, "Ready").map_or("", |ready| text(ready, "/lastHeartbeatTime"))
}

pub(super) fn plan(node: &Value, silent: bool, now: Timestamp) -> Vec<Step> {
    let mut steps = Vec::new();
    let unknown = if silent { unknown(node, now) } else { vec![] };
    if !unknown.is_empty() {
        steps.push(Step::Unknown(unknown));
    }
    let taints = taints(node, now);
    if taints.as_slice() != list(node, "/spec/taints") {
        steps.push(Step::Taint(taints));
    }
    steps
}

fn unknown(node: &Value, now: Timestamp) -> Vec<Value> {
    let now = format_seconds(now);
    let fresh = REPORTED.iter().filter_map(|kind| {
        let (reason, message) = match condition(node, kind) {
            Some(known) if known["status"] == "Unknown" => return None,
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
        };
        Some(json!({"type": kind, "status": "Unknown", "reason": reason, "message": message,
            "lastTransitionTime": now}))
    });
    fresh.collect()
}

/// The taints there are, with those that follow from conditions as they must be.
fn taints(node: &Value, now: Timestamp) -> Vec<Value> {
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    match condition(node, "Ready").map(|ready| text(ready, "/status")) {
        Some("True") => {}
        Some("False") => wanted.extend([(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
        Some(_) => wanted.extend([(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
        // Admission put it there; it has not said that it is ready.
        None => wanted.push((NOT_READY, "NoSchedule")),
    }
    for (kind, key) in PRESSURES {
        if condition(node, kind).is_some_and(|pressure| pressure["status"] == "True") {
            wanted.push((key, "NoSchedule"));
        }
    }
    if node["spec"]["unschedulable"] == true {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let is_ours = |taint: &Value| {
        let (key, effect) = (text(taint, "/key"), text(taint, "/effect"));
        let ready = matches!(key, NOT_READY | UNREACHABLE) && matches!(effect, "NoSchedule" | "NoExecute");
        ready
            || (effect == "NoSchedule"
                && (key == UNSCHEDULABLE || PRESSURES.iter().any(|(_, ours)| *ours == key)))
    };
    let is_wanted = |taint: &Value| wanted.contains(&(text(taint, "/key"), text(taint, "/effect")));
    let there = list(node, "/spec/taints");
    let mut taints: Vec<Value> =
        there.iter().filter(|taint| !is_ours(taint) || is_wanted(taint)).cloned().collect();
    for (key, effect) in wanted {
        if there.iter().any(|taint| taint["key"] == key && taint["effect"] == effect) {
            continue;
        }
        let mut taint = json!({"key": key, "effect": effect});
        if effect == "NoExecute" || key == UNREACHABLE {
            taint["timeAdded"] = format_seconds(now).into();
        }
        taints.push(taint);
    }
    taints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ready: Option<&str>, taints: Value, unschedulable: bool, expect: Option<&[&str]>) {
        let conditions = ready.map_or(json!([]), |status| json!([{"type": "Ready", "status": status}]));
        let node = json!({"spec": {"taints": taints, "unschedulable": unschedulable}, "status": {"conditions": conditions}});
        let steps = plan(&node, false, Timestamp::UNIX_EPOCH);
        let shown = steps.first().map(|step| match step {
            Step::Taint(taints) => taints
                .iter()
                .map(|t| {
                    format!(
                        "{}:{}",
                        text(t, "/key").trim_start_matches("node.kubernetes.io/"),
                        text(t, "/effect")
                    )
                })
                .collect(),
            Step::Unknown(_) => vec!["unknown".to_owned()],
        });
        let expect: Option<Vec<String>> =
            expect.map(|taints| taints.iter().map(|taint| (*taint).to_owned()).collect());
        assert_eq!(shown, expect, "{node}");
    }

    #[test]
    fn conditions_become_taints() {
        let fresh = || json!([{"key": NOT_READY, "effect": "NoSchedule"}]);
        let foreign =
            || json!([{"key": "a", "effect": "NoSchedule"}, {"key": NOT_READY, "effect": "NoSchedule"}]);
        check(None, fresh(), false, None);
        check(Some("True"), fresh(), false, Some(&[]));
        check(Some("True"), foreign(), false, Some(&["a:NoSchedule"]));
        check(Some("False"), fresh(), false, Some(&["not-ready:NoSchedule", "not-ready:NoExecute"]));
        check(Some("Unknown"), fresh(), false, Some(&["unreachable:NoSchedule", "unreachable:NoExecute"]));
        check(Some("True"), json!([]), true, Some(&["unschedulable:NoSchedule"]));
        check(Some("True"), json!([]), false, None);
    }

    #[test]
    fn silence_makes_conditions_unknown() {
        let node = json!({"spec": {}, "status": {"conditions": [
            {"type": "Ready", "status": "True"}, {"type": "PIDPressure", "status": "Unknown"}]}});
        let steps = plan(&node, true, Timestamp::UNIX_EPOCH);
        let [Step::Unknown(conditions)] = steps.as_slice() else { panic!("{steps:?}") };
        let kinds: Vec<_> =
            conditions.iter().map(|c| format!("{} {}", text(c, "/type"), text(c, "/reason"))).collect();
        assert_eq!(
            kinds,
            [
                "Ready NodeStatusUnknown",
                "MemoryPressure NodeStatusNeverUpdated",
                "DiskPressure NodeStatusNeverUpdated"
            ]
        );
        assert_eq!(plan(&node, false, Timestamp::UNIX_EPOCH), []);
    }
}

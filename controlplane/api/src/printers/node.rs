//! Nodes.

use serde_json::Value;

use super::{AGE, Column, NAME, age, joined, list, name, or, text, wide};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    text("Status"),
    text("Roles"),
    AGE,
    text("Version"),
    wide("Internal-IP"),
    wide("External-IP"),
    wide("OS-Image"),
    wide("Kernel-Version"),
    wide("Container-Runtime"),
];

const ROLE: &str = "node-role.kubernetes.io/";

pub(super) fn cells(node: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let info = &node["status"]["nodeInfo"];
    let address = |of: &str| {
        list(&node["status"], "addresses")
            .find(|a| a["type"] == of)
            .map_or("<none>".into(), |a| or(&a["address"], "<none>"))
    };
    vec![
        name(node),
        status(node).into(),
        roles(node),
        age(node, now),
        info["kubeletVersion"].as_str().unwrap_or_default().into(),
        address("InternalIP"),
        address("ExternalIP"),
        or(&info["osImage"], "<unknown>"),
        or(&info["kernelVersion"], "<unknown>"),
        or(&info["containerRuntimeVersion"], "<unknown>"),
    ]
}

fn status(node: &Value) -> String {
    let ready = list(&node["status"], "conditions").find(|condition| condition["type"] == "Ready");
    let mut words = vec![match ready {
        Some(condition) if condition["status"] == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }];
    if node["spec"]["unschedulable"] == true {
        words.push("SchedulingDisabled");
    }
    words.join(",")
}

fn roles(node: &Value) -> Value {
    let labels = node["metadata"]["labels"].as_object();
    let mut roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix(ROLE) {
            Some(role) if !role.is_empty() => Some(role),
            _ if key == "kubernetes.io/role" => value.as_str().filter(|role| !role.is_empty()),
            _ => None,
        })
        .collect();
    roles.sort_unstable();
    roles.dedup();
    joined(roles.into_iter(), "<none>")
}

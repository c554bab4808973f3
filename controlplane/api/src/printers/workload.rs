//! Deployments, ReplicaSets, ReplicationControllers, StatefulSets, DaemonSets, their revisions, and templates.

use serde_json::Value;

use super::{AGE, Column, NAME, age, containers, labels, list, name, number, selector, text, wide};

pub(super) const DEPLOYMENT: &[Column] = &[
    NAME,
    text("Ready"),
    text("Up-to-date"),
    text("Available"),
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

pub(super) const SCALE: &[Column] = &[NAME, number("Desired"), number("Available"), AGE];

pub(super) fn scale(scale: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let (wanted, there) = (count(&scale["spec"]["replicas"]), count(&scale["status"]["replicas"]));
    vec![name(scale), wanted.into(), there.into(), age(scale, now)]
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

/// The same columns; its selector is a map.
pub(super) fn replication_controller(controller: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let mut cells = replica_set(controller, now);
    if let Some(cell) = cells.last_mut() {
        *cell = labels(&controller["spec"]["selector"]);
    }
    cells
}

pub(super) const STATEFUL_SET: &[Column] = &[NAME, text("Ready"), AGE, wide("Containers"), wide("Images")];

pub(super) fn stateful_set(set: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let (spec, status) = (&set["spec"], &set["status"]);
    let [names, images] = containers(&spec["template"]);
    let ready = format!("{}/{}", count(&status["readyReplicas"]), count(&spec["replicas"]));
    vec![name(set), ready.into(), age(set, now), names, images]
}

pub(super) const DAEMON_SET: &[Column] = &[
    NAME,
    number("Desired"),
    number("Current"),
    number("Ready"),
    number("Up-to-date"),
    number("Available"),
    text("Node Selector"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

pub(super) fn daemon_set(set: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let (spec, status) = (&set["spec"], &set["status"]);
    let [names, images] = containers(&spec["template"]);
    vec![
        name(set),
        count(&status["desiredNumberScheduled"]).into(),
        count(&status["currentNumberScheduled"]).into(),
        count(&status["numberReady"]).into(),
        count(&status["updatedNumberScheduled"]).into(),
        count(&status["numberAvailable"]).into(),
        labels(&spec["template"]["spec"]["nodeSelector"]),
        age(set, now),
        names,
        images,
        selector(spec.get("selector")),
    ]
}

pub(super) const REVISION: &[Column] = &[NAME, text("Controller"), text("Revision"), AGE];

pub(super) fn revision(revision: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let owner = list(&revision["metadata"], "ownerReferences").find(|owner| owner["controller"] == true);
    let shown = owner.map_or_else(
        || "<none>".to_owned(),
        |owner| {
            let kind = owner["kind"].as_str().unwrap_or_default().to_lowercase();
            let name = owner["name"].as_str().unwrap_or_default();
            match owner["apiVersion"].as_str().and_then(|version| version.split_once('/')) {
                Some((group, _)) => format!("{kind}.{group}/{name}"),
                None => format!("{kind}/{name}"),
            }
        },
    );
    vec![name(revision), shown.into(), count(&revision["revision"]).into(), age(revision, now)]
}

pub(super) const TEMPLATE: &[Column] = &[NAME, text("Containers"), text("Images"), text("Pod Labels")];

pub(super) fn template(object: &Value, _now: jiff::Timestamp) -> Vec<Value> {
    let [names, images] = containers(&object["template"]);
    vec![name(object), names, images, labels(&object["template"]["metadata"]["labels"])]
}

fn count(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

//! Deployments, ReplicaSets, ReplicationControllers, StatefulSets and DaemonSets.

use serde_json::{Value, json};

use super::{items, pod, set, storage};

/// One replica, replaced a quarter at a time.
pub(super) fn deployment(deployment: &mut Value) {
    let spec = &mut deployment["spec"];
    set(spec, "replicas", 1);
    set(spec, "strategy", json!({}));
    let strategy = &mut spec["strategy"];
    set(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        set(strategy, "rollingUpdate", json!({}));
        set(&mut strategy["rollingUpdate"], "maxUnavailable", "25%");
        set(&mut strategy["rollingUpdate"], "maxSurge", "25%");
    }
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "progressDeadlineSeconds", 600);
    pod::spec(&mut spec["template"]["spec"]);
}

/// One replica.
pub(super) fn replica_set(set_object: &mut Value) {
    let spec = &mut set_object["spec"];
    set(spec, "replicas", 1);
    // A ReplicaSet may be without a template only until validation says so.
    if spec["template"].is_object() {
        pod::spec(&mut spec["template"]["spec"]);
    }
}

/// One replica; selector and labels are the template's where it has none of its own.
pub(super) fn replication_controller(controller: &mut Value) {
    set(&mut controller["spec"], "replicas", 1);
    if !controller["spec"]["template"].is_object() {
        return;
    }
    pod::spec(&mut controller["spec"]["template"]["spec"]);
    let labels = controller["spec"]["template"]["metadata"]["labels"].clone();
    let is_empty = |map: &Value| map.as_object().is_none_or(serde_json::Map::is_empty);
    if !is_empty(&labels) {
        if is_empty(&controller["spec"]["selector"]) {
            controller["spec"]["selector"] = labels.clone();
        }
        if is_empty(&controller["metadata"]["labels"]) {
            controller["metadata"]["labels"] = labels;
        }
    }
}

/// One replica after the other, claims that stay.
pub(super) fn stateful_set(set_object: &mut Value) {
    let spec = &mut set_object["spec"];
    set(spec, "replicas", 1);
    set(spec, "podManagementPolicy", "OrderedReady");
    set(spec, "updateStrategy", json!({}));
    let strategy = &mut spec["updateStrategy"];
    set(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        set(strategy, "rollingUpdate", json!({}));
        set(&mut strategy["rollingUpdate"], "partition", 0);
    }
    set(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
    set(&mut spec["persistentVolumeClaimRetentionPolicy"], "whenDeleted", "Retain");
    set(&mut spec["persistentVolumeClaimRetentionPolicy"], "whenScaled", "Retain");
    set(spec, "revisionHistoryLimit", 10);
    for claim in items(spec, "volumeClaimTemplates") {
        set(claim, "kind", "PersistentVolumeClaim");
        set(claim, "apiVersion", "v1");
        storage::claim(claim);
    }
    pod::spec(&mut spec["template"]["spec"]);
}

/// One node after the other.
pub(super) fn daemon_set(set_object: &mut Value) {
    let spec = &mut set_object["spec"];
    set(spec, "updateStrategy", json!({}));
    let strategy = &mut spec["updateStrategy"];
    set(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        set(strategy, "rollingUpdate", json!({}));
        set(&mut strategy["rollingUpdate"], "maxUnavailable", 1);
        set(&mut strategy["rollingUpdate"], "maxSurge", 0);
    }
    set(spec, "revisionHistoryLimit", 10);
    pod::spec(&mut spec["template"]["spec"]);
}

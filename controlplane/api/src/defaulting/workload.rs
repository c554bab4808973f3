//! Deployments and ReplicaSets.

use serde_json::{Value, json};

use super::{pod, set};

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

//! Services.

use serde_json::{Value, json};

use super::{items, set};

/// Seconds that a client stays with its pod, where it stays at all.
const AFFINITY_SECONDS: i64 = 10_800;

pub(super) fn apply(service: &mut Value) {
    let spec = &mut service["spec"];
    set(spec, "sessionAffinity", "None");
    set(spec, "type", "ClusterIP");
    match spec["sessionAffinity"].as_str() {
        Some("ClientIP") => {
            set(spec, "sessionAffinityConfig", json!({}));
            set(&mut spec["sessionAffinityConfig"], "clientIP", json!({}));
            set(&mut spec["sessionAffinityConfig"]["clientIP"], "timeoutSeconds", AFFINITY_SECONDS);
        }
        _ => drop(spec.as_object_mut().map(|spec| spec.shift_remove("sessionAffinityConfig"))),
    }
    for port in items(spec, "ports") {
        set(port, "protocol", "TCP");
        let number = port["port"].clone();
        if matches!(&port["targetPort"], Value::Null) || port["targetPort"] == 0 || port["targetPort"] == "" {
            port["targetPort"] = number;
        }
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    let outside = spec["externalIPs"].as_array().is_some_and(|addresses| !addresses.is_empty());
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && outside) {
        set(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind != "ExternalName" {
        set(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true);
    }
}

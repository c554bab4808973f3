//! Limits, autoscalers, priority and fairness, devices.

use serde_json::{Value, json};

use super::{items, set};

/// What is limited is requested; a maximum limits.
pub(super) fn limit_range(range: &mut Value) {
    for item in items(&mut range["spec"], "limits") {
        if item["type"] != "Container" {
            continue;
        }
        set(item, "default", json!({}));
        set(item, "defaultRequest", json!({}));
        for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
            for (name, amount) in item[from].as_object().cloned().into_iter().flatten() {
                set(&mut item[to], &name, amount);
            }
        }
        if let Some(fields) = item.as_object_mut() {
            fields.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
        }
    }
}

/// Four fifths of what the pods request of the processor.
pub(super) fn autoscaler(autoscaler: &mut Value) {
    let spec = &mut autoscaler["spec"];
    set(spec, "minReplicas", 1);
    if spec["metrics"].as_array().is_none_or(Vec::is_empty) {
        spec["metrics"] = json!([{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 80}}}]);
    }
    if let Some(behavior) = spec.get_mut("behavior").filter(|behavior| !behavior.is_null()) {
        let up = json!([{"type": "Pods", "value": 4, "periodSeconds": 15},
            {"type": "Percent", "value": 100, "periodSeconds": 15}]);
        let down = json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]);
        set(behavior, "scaleUp", json!({}));
        set(&mut behavior["scaleUp"], "stabilizationWindowSeconds", 0);
        set(behavior, "scaleDown", json!({}));
        for (rules, policies) in [("scaleUp", up), ("scaleDown", down)] {
            set(&mut behavior[rules], "selectPolicy", "Max");
            set(&mut behavior[rules], "policies", policies);
        }
    }
}

pub(super) fn flow_schema(schema: &mut Value) {
    set(&mut schema["spec"], "matchingPrecedence", 1000);
}

pub(super) fn priority_level(level: &mut Value) {
    let spec = &mut level["spec"];
    match spec["type"].as_str() {
        Some("Exempt") => {
            set(spec, "exempt", json!({}));
            set(&mut spec["exempt"], "nominalConcurrencyShares", 0);
            set(&mut spec["exempt"], "lendablePercent", 0);
        }
        Some("Limited") => {
            let Some(limited) = spec.get_mut("limited").filter(|limited| limited.is_object()) else { return };
            set(limited, "nominalConcurrencyShares", 30);
            set(limited, "lendablePercent", 0);
            if limited["limitResponse"]["type"] == "Queue"
                && let Some(queuing) = limited["limitResponse"].get_mut("queuing")
            {
                set(queuing, "queues", 64);
                set(queuing, "handSize", 8);
                set(queuing, "queueLengthLimit", 50);
            }
        }
        _ => {}
    }
}

/// `spec` of a claim for devices, in a claim or in a template.
pub(super) fn device_claim(spec: &mut Value) {
    let Some(devices) = spec.get_mut("devices") else { return };
    for request in items(devices, "requests") {
        if let Some(exact) = request.get_mut("exactly").filter(|exact| exact.is_object()) {
            amount(exact);
        }
        for alternative in items(request, "firstAvailable") {
            amount(alternative);
        }
    }
}

fn amount(request: &mut Value) {
    set(request, "allocationMode", "ExactCount");
    if request["allocationMode"] == "ExactCount" {
        set(request, "count", 1);
    }
    for toleration in items(request, "tolerations") {
        set(toleration, "operator", "Equal");
    }
}

//! NetworkPolicies.

use serde_json::{Value, json};

use super::{items, set};

pub(super) fn apply(policy: &mut Value) {
    let spec = &mut policy["spec"];
    for list in ["ingress", "egress"] {
        for rule in items(spec, list) {
            for port in items(rule, "ports") {
                set(port, "protocol", "TCP");
            }
        }
    }
    if spec["policyTypes"].as_array().is_none_or(Vec::is_empty) {
        let outgoing = spec["egress"].as_array().is_some_and(|rules| !rules.is_empty());
        set_types(spec, if outgoing { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
    }
}

fn set_types(spec: &mut Value, types: Value) {
    // An empty list says as little as none.
    if let Some(fields) = spec.as_object_mut() {
        fields.shift_remove("policyTypes");
    }
    set(spec, "policyTypes", types);
}

//! Ingress classes.

use serde_json::Value;

use super::set;

pub(super) fn class(class: &mut Value) {
    if let Some(parameters) = class["spec"].get_mut("parameters").filter(|given| given.is_object()) {
        set(parameters, "scope", "Cluster");
    }
}

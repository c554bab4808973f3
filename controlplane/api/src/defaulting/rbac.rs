//! RBAC bindings: the group of roles and subjects.

use serde_json::Value;

use super::{items, set};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn binding(binding: &mut Value) {
    set(&mut binding["roleRef"], "apiGroup", GROUP);
    for subject in items(binding, "subjects") {
        if matches!(subject["kind"].as_str(), Some("User" | "Group")) {
            set(subject, "apiGroup", GROUP);
        }
    }
}

//! Defaults of admission webhooks and policies.

use serde_json::{Value, json};

use super::{items, set};

/// Most seconds that a webhook gets which does not say.
const TIMEOUT_SECONDS: i64 = 10;

pub(super) fn webhooks(configuration: &mut Value, mutating: bool) {
    for hook in items(configuration, "webhooks") {
        set(hook, "failurePolicy", "Fail");
        set(hook, "matchPolicy", "Equivalent");
        set(hook, "namespaceSelector", json!({}));
        set(hook, "objectSelector", json!({}));
        set(hook, "timeoutSeconds", TIMEOUT_SECONDS);
        if mutating {
            set(hook, "reinvocationPolicy", "Never");
        }
        for rule in items(hook, "rules") {
            set(rule, "scope", "*");
        }
        if let Some(service) = hook.pointer_mut("/clientConfig/service").filter(|service| service.is_object())
        {
            set(service, "port", 443);
        }
    }
}

pub(super) fn policy(policy: &mut Value) {
    set(&mut policy["spec"], "failurePolicy", "Fail");
    if policy["spec"]["matchConstraints"].is_object() {
        resources(&mut policy["spec"]["matchConstraints"]);
    }
}

pub(super) fn binding(binding: &mut Value) {
    if binding["spec"]["matchResources"].is_object() {
        resources(&mut binding["spec"]["matchResources"]);
    }
}

fn resources(resources: &mut Value) {
    set(resources, "matchPolicy", "Equivalent");
    set(resources, "namespaceSelector", json!({}));
    set(resources, "objectSelector", json!({}));
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in items(resources, list) {
            set(rule, "scope", "*");
        }
    }
}

//! Defaults of admission webhooks.

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

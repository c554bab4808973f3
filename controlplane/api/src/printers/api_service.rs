//! APIServices.

use serde_json::Value;

use super::{AGE, Column, NAME, age, list, name, text};

pub(super) const SERVICE: &[Column] = &[NAME, text("Service"), text("Available"), AGE];

pub(super) fn service(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let service = &object["spec"]["service"];
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let at = match service.is_null() {
        true => "Local".to_owned(),
        false => format!("{}/{}", word(&service["namespace"]), word(&service["name"])),
    };
    let available = list(&object["status"], "conditions").find(|condition| condition["type"] == "Available");
    let available = available.map_or_else(
        || "Unknown".to_owned(),
        |condition| match condition["status"].as_str() {
            Some("True") => "True".to_owned(),
            status => format!("{} ({})", status.unwrap_or_default(), word(&condition["reason"])),
        },
    );
    vec![name(object), at.into(), available.into(), age(object, now)]
}

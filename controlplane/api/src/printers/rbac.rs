//! Roles and bindings.

use serde_json::{Value, json};

use super::{AGE, Column, NAME, age, joined, list, name, text, wide};

pub(super) const ROLE: &[Column] = &[NAME, text("Created At")];

pub(super) fn role(role: &Value, _now: jiff::Timestamp) -> Vec<Value> {
    vec![name(role), role["metadata"]["creationTimestamp"].clone()]
}

pub(super) const BINDING: &[Column] =
    &[NAME, text("Role"), AGE, wide("Users"), wide("Groups"), wide("ServiceAccounts")];

pub(super) fn binding(binding: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let role = &binding["roleRef"];
    let of = |kind: &str| -> Vec<String> {
        list(binding, "subjects")
            .filter(|subject| subject["kind"] == kind)
            .map(|subject| {
                let name = subject["name"].as_str().unwrap_or_default();
                match subject["namespace"].as_str() {
                    Some(namespace) => format!("{namespace}/{name}"),
                    None => name.to_owned(),
                }
            })
            .collect()
    };
    let shown = |names: Vec<String>| joined(names.iter().map(String::as_str), "");
    vec![
        name(binding),
        json!(format!(
            "{}/{}",
            role["kind"].as_str().unwrap_or_default(),
            role["name"].as_str().unwrap_or_default()
        )),
        age(binding, now),
        shown(of("User")),
        shown(of("Group")),
        shown(of("ServiceAccount")),
    ]
}

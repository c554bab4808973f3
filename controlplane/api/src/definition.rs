//! CustomResourceDefinitions as objects: their defaults, what makes one valid, and which names it gets.
//!
//! Not the rows that they make (`custom`) nor the walk along a schema (`structural`).
//! Reference: apiextensions-apiserver 1.36, `pkg/apis/apiextensions/{v1/defaults,validation}` and the naming controller, by
//! behaviour.

mod field_path;
mod lists;
mod names;
mod rules;
mod schema;
mod validation;
mod version;
mod webhook;

pub use names::{conditions, established, is_established, is_true, settled, terminating};
pub use validation::{create, status, update};
pub(crate) use webhook::client_config;

use serde_json::{Value, json};

/// Holds a definition until its objects are gone.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Fills in what a definition leaves out.
pub fn fill(definition: &mut Value) {
    let Some(spec) = definition.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if spec.get("conversion").is_none_or(Value::is_null) {
        spec.insert("conversion".into(), json!({"strategy": "None"}));
    }
    if let Some(service) = spec["conversion"].pointer_mut("/webhook/clientConfig/service")
        && service["port"].is_null()
    {
        service["port"] = 443.into();
    }
    let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) else { return };
    let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    for (name, default) in [("singular", kind.to_lowercase()), ("listKind", format!("{kind}List"))] {
        let missing = names.get(name).and_then(Value::as_str).unwrap_or_default().is_empty();
        if missing && !kind.is_empty() {
            names.insert(name.into(), default.into());
        }
    }
}

/// The version that objects are stored in is one of the stored versions from now on.
pub fn note_storage_version(definition: &mut Value) {
    let Some(storage) = storage_version(definition).map(str::to_owned) else { return };
    let status = &mut definition["status"];
    if !status.is_object() {
        *status = json!({});
    }
    let stored = &mut status["storedVersions"];
    match stored {
        Value::Array(versions) if versions.contains(&json!(storage)) => {}
        Value::Array(versions) => versions.push(storage.into()),
        other => *other = json!([storage]),
    }
}

/// The version that objects are stored in.
pub fn storage_version(definition: &Value) -> Option<&str> {
    let versions = definition["spec"]["versions"].as_array()?;
    versions.iter().find(|version| version["storage"] == true)?["name"].as_str()
}

#[cfg(test)]
mod tests;

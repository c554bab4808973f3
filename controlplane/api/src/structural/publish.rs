//! A schema as OpenAPI publishes it, for `kubectl explain`, client-side validation and server-side apply.
//!
//! OpenAPI v2 cannot say everything: what it has no words for is left out there, as upstream does.

use serde_json::{Map, Value, json};

/// The published form of a schema's JSON.
pub fn publish(schema: &Value, v3: bool) -> Value {
    let Value::Object(fields) = schema else { return json!({}) };
    let preserves = schema["x-kubernetes-preserve-unknown-fields"] == true;
    let loose = !v3 && (schema["nullable"] == true || schema["x-kubernetes-int-or-string"] == true);
    let mut out = Map::new();
    for (name, value) in fields {
        match name.as_str() {
            "oneOf" | "anyOf" | "not" | "nullable" if !v3 => {}
            // Without a type nothing is known, so everything goes.
            "type" | "items" | "properties" if loose => {}
            "type" | "properties" | "items"
                if !v3 && preserves && schema["x-kubernetes-embedded-resource"] != true =>
            {
                if name == "type" {
                    out.insert(name.clone(), value.clone());
                }
            }
            "properties" => {
                let inner: Map<String, Value> = value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(name, schema)| (name.clone(), publish(schema, v3)))
                    .collect();
                out.insert(name.clone(), inner.into());
            }
            "items" | "additionalProperties" if value.is_object() => {
                out.insert(name.clone(), publish(value, v3));
            }
            "example" | "externalDocs" if !v3 => {}
            _ => drop(out.insert(name.clone(), value.clone())),
        }
    }
    Value::Object(out)
}

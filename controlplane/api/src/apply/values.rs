//! A configuration as it was meant: without nulls, with canonical values, and nothing that nobody wrote.

use serde_json::Value;

/// Without keys whose value is null.
pub(super) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, without_nulls(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// The canonical form, of those fields that were written; zeros that the canonical form leaves out stay.
pub(super) fn restricted(written: &Value, canonical: Value) -> Value {
    match (written, canonical) {
        (Value::Object(fields), Value::Object(mut known)) => fields
            .iter()
            .map(|(name, value)| {
                let value = match known.remove(name) {
                    Some(known) => restricted(value, known),
                    None => value.clone(),
                };
                (name.clone(), value)
            })
            .collect(),
        (Value::Array(items), Value::Array(known)) if items.len() == known.len() => {
            items.iter().zip(known).map(|(item, known)| restricted(item, known)).collect()
        }
        (written, Value::Null) => written.clone(),
        (_, known) => known,
    }
}

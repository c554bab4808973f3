//! Fields that a schema does not know go; where it keeps unknown ones they stay.

use serde_json::Value;

use super::{Additional, Structural};
use crate::field::quote;

/// Fields that every object has, at the root and where an object is embedded.
const OWN: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Removes what the schema does not know. At the root, and in embedded objects, `metadata` is not looked into.
pub fn prune(value: &mut Value, schema: &Structural, root: bool) {
    walk(value, schema, root, &mut String::new(), &mut |_| true);
}

/// The unknown fields of a value in upstream's words, at most `most`; they stay.
pub fn unknown(value: &Value, schema: &Structural, most: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut copy = value.clone();
    walk(&mut copy, schema, true, &mut String::new(), &mut |path| {
        if found.len() < most {
            found.push(format!("unknown field {}", quote(path)));
        }
        true
    });
    found
}

fn walk(
    value: &mut Value,
    schema: &Structural,
    root: bool,
    path: &mut String,
    drop: &mut impl FnMut(&str) -> bool,
) {
    let is_object = root || schema.embedded;
    match value {
        Value::Object(fields) => {
            let length = path.len();
            fields.retain(|name, inner| {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(name);
                let kept = if is_object && OWN.contains(&name.as_str()) {
                    true
                } else if let Some(below) = schema.field(name) {
                    walk(inner, below, false, path, drop);
                    true
                } else if schema.preserves || matches!(schema.additional, Additional::Any) {
                    true
                } else {
                    !drop(path)
                };
                path.truncate(length);
                kept
            });
        }
        Value::Array(items) => {
            let Some(below) = &schema.items else { return };
            let length = path.len();
            for (index, item) in items.iter_mut().enumerate() {
                path.push_str(&format!("[{index}]"));
                walk(item, below, false, path, drop);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

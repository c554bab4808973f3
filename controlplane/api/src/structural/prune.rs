//! Fields that a schema does not know go; where it keeps unknown ones they stay.

use serde_json::Value;

use super::{Additional, Structural};
use crate::field::quote;
use crate::schema;

/// Fields that every object has, at the root and where an object is embedded.
const OWN: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Removes what the schema does not know. Of embedded objects `metadata` is what every object's is, whatever the schema
/// says of it; at the root it is left to the caller.
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
                    if !root && name == "metadata" {
                        metadata(inner, path, drop);
                    }
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

fn metadata(value: &mut Value, path: &mut String, drop: &mut impl FnMut(&str) -> bool) {
    let Value::Object(fields) = value else { return };
    let known = schema::object_meta();
    let length = path.len();
    fields.retain(|name, _| {
        path.push('.');
        path.push_str(name);
        let kept = known.field(name).is_some() || !drop(path);
        path.truncate(length);
        kept
    });
}

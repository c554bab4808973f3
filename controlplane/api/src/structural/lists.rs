//! Items of lists that are sets or maps: no two may be the same.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{List, Structural};
use crate::field::{FieldError, Path};

/// What is double in the lists of a value.
pub fn check_lists(value: &Value, schema: &Structural, path: &Path, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                if let Some(below) = schema.field(name) {
                    let here =
                        if schema.properties.contains_key(name) { path.child(name) } else { path.key(name) };
                    check_lists(inner, below, &here, errors);
                }
            }
        }
        Value::Array(items) => {
            unique(items, &schema.list, path, errors);
            if let Some(below) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    check_lists(item, below, &path.index(index), errors);
                }
            }
        }
        _ => {}
    }
}

fn unique(items: &[Value], list: &List, path: &Path, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let name = match list {
            List::Atomic => return,
            List::Set => item.clone(),
            List::Map(keys) => {
                let named = keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
                Value::Object(named.collect::<Map<_, _>>())
            }
        };
        if !seen.insert(name.to_string()) {
            errors.push(FieldError::duplicate(path.index(index), name));
        }
    }
}

//! Defaults of a schema: where a field is missing, or null and may not be.

use serde_json::Value;

use super::{Additional, Structural};

/// Fills in the defaults.
pub fn fill(value: &mut Value, schema: &Structural) {
    if !schema.has_defaults {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, below) in schema.properties.iter().filter(|(_, below)| below.has_defaults) {
                if let (Some(default), None) = (&below.default, fields.get(name)) {
                    fields.insert(name.clone(), default.clone());
                }
                if let Some(inner) = fields.get_mut(name) {
                    fill(inner, below);
                }
            }
            if let Additional::Each(each) = &schema.additional {
                for (name, inner) in fields.iter_mut() {
                    if !schema.properties.contains_key(name) {
                        fill_one(inner, each);
                    }
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = &schema.items {
                items.iter_mut().for_each(|item| fill_one(item, below));
            }
        }
        _ => {}
    }
}

/// An item or a value of a map: null stands for its default where it may not be null.
fn fill_one(value: &mut Value, schema: &Structural) {
    if let (Value::Null, false, Some(default)) = (&*value, schema.nullable, &schema.default) {
        *value = default.clone();
    }
    fill(value, schema);
}

/// Removes nulls where null is not allowed and there is a default, so that the default takes their place.
pub fn without_defaulted_nulls(value: &mut Value, schema: &Structural) {
    if !schema.has_defaults {
        return;
    }
    match value {
        Value::Object(fields) => {
            fields.retain(|name, inner| match schema.properties.get(name) {
                Some(below) => !(inner.is_null() && !below.nullable && below.default.is_some()),
                None => true,
            });
            for (name, inner) in fields.iter_mut() {
                if let Some(below) = schema.field(name) {
                    without_defaulted_nulls(inner, below);
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = &schema.items {
                items.iter_mut().for_each(|item| without_defaulted_nulls(item, below));
            }
        }
        _ => {}
    }
}

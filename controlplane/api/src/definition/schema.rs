//! What a definition's schema may use, beyond being structural.

use serde_json::Value;

use crate::field::{FieldError, Path};
use crate::structural::{self, Structural};

/// What a schema must not have, and why.
const UNSUPPORTED: [(&str, &str); 6] = [
    ("id", "id is not supported"),
    ("additionalItems", "additionalItems is not supported"),
    ("patternProperties", "patternProperties is not supported"),
    ("definitions", "definitions is not supported"),
    ("dependencies", "dependencies is not supported"),
    ("$ref", "$ref is not supported"),
];

/// Everything that is wrong with the schema of a version.
pub(super) fn check(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let before = errors.len();
    node(schema, path, errors);
    errors.extend(structural::complaints(schema, path));
    if errors.len() == before {
        let read = structural::read(schema);
        defaults(schema, &read, path, errors);
        super::rules::check(schema, path, errors);
    }
}

fn text<'a>(schema: &'a Value, name: &str) -> &'a str {
    schema[name].as_str().unwrap_or_default()
}

fn node(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for (name, why) in UNSUPPORTED {
        let set = schema.get(name).is_some_and(|value| !value.is_null() && value != "");
        if set {
            errors.push(FieldError::forbidden(path.child(name), why));
        }
    }
    if text(schema, "type") == "null" {
        let why = "type cannot be set to null, use nullable as an alternative";
        errors.push(FieldError::forbidden(path.child("type"), why));
    } else if !matches!(
        text(schema, "type"),
        "" | "object" | "array" | "string" | "integer" | "number" | "boolean"
    ) {
        let known = ["array", "boolean", "integer", "number", "object", "string"];
        errors.push(FieldError::not_supported(path.child("type"), text(schema, "type"), &known));
    }
    if schema["uniqueItems"] == true {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(path.child("uniqueItems"), why));
    }
    if schema["items"].is_array() {
        let why = "items must be a schema object and not an array";
        errors.push(FieldError::forbidden(path.child("items"), why));
    }
    let has_properties = schema["properties"].as_object().is_some_and(|fields| !fields.is_empty());
    if has_properties && matches!(schema["additionalProperties"], Value::Bool(false) | Value::Object(_)) {
        let why = "additionalProperties and properties are mutual exclusive";
        errors.push(FieldError::forbidden(path.child("additionalProperties"), why));
    } else if schema["additionalProperties"] == false {
        let why = "additionalProperties cannot be set to false";
        errors.push(FieldError::forbidden(path.child("additionalProperties"), why));
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        let why = "must be true or undefined";
        errors.push(FieldError::invalid(path.child("x-kubernetes-preserve-unknown-fields"), false, why));
    }
    list_type(schema, path, errors);
    map_type(schema, path, errors);
    below(schema, path, errors);
}

fn below(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        node(inner, &path.child("properties").key(name), errors);
    }
    for name in ["items", "additionalProperties", "not"] {
        if schema[name].is_object() {
            node(&schema[name], &path.child(name), errors);
        }
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        for (index, inner) in schema[name].as_array().into_iter().flatten().enumerate() {
            node(inner, &path.child(name).index(index), errors);
        }
    }
}

fn list_type(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    const LIST_TYPE: &str = "x-kubernetes-list-type";
    const KEYS: &str = "x-kubernetes-list-map-keys";
    let of = text(schema, LIST_TYPE);
    let keys: Vec<&str> = schema[KEYS].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if schema.get(LIST_TYPE).is_some() {
        match text(schema, "type") {
            "array" => {}
            "" => {
                let why = format!("must be array if {LIST_TYPE} is specified");
                errors.push(FieldError::required(path.child("type"), why));
            }
            other => {
                let why = format!("must be array if {LIST_TYPE} is specified");
                errors.push(FieldError::invalid(path.child("type"), other, why));
            }
        }
        if !matches!(of, "atomic" | "set" | "map") {
            errors.push(FieldError::not_supported(path.child(LIST_TYPE), of, &["atomic", "set", "map"]));
        }
    }
    if !keys.is_empty() && of != "map" {
        let at = path.child(LIST_TYPE);
        let why = format!("must be map if {KEYS} is non-empty");
        errors.push(if of.is_empty() {
            FieldError::required(at, why)
        } else {
            FieldError::invalid(at, of, why)
        });
    }
    if of != "map" {
        return;
    }
    if keys.is_empty() {
        let why = format!("must not be empty if {LIST_TYPE} is map");
        errors.push(FieldError::required(path.child(KEYS), why));
    }
    list_keys(schema, &keys, path, errors);
}

fn list_keys(schema: &Value, keys: &[&str], path: &Path, errors: &mut Vec<FieldError>) {
    let items = &schema["items"];
    let place = path.child("items");
    if text(items, "type") != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(place.child("type"), text(items, "type"), why));
    }
    for (index, key) in keys.iter().enumerate() {
        if keys[..index].contains(key) {
            errors.push(FieldError::duplicate(path.child("x-kubernetes-list-map-keys").index(index), *key));
        }
        let Some(property) = items["properties"].get(*key) else {
            let why = "entries must all be names of item properties";
            errors.push(FieldError::invalid(
                path.child("x-kubernetes-list-map-keys").index(index),
                *key,
                why,
            ));
            continue;
        };
        let at = place.child("properties").key(key);
        if matches!(text(property, "type"), "object" | "array") {
            let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.push(FieldError::invalid(at.child("type"), text(property, "type"), why));
        }
        let required =
            items["required"].as_array().is_some_and(|names| names.iter().any(|name| name == *key));
        if !required && property.get("default").is_none_or(Value::is_null) {
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(at.child("default"), why));
        }
    }
}

fn map_type(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    const MAP_TYPE: &str = "x-kubernetes-map-type";
    let Some(of) = schema[MAP_TYPE].as_str() else { return };
    if text(schema, "type") != "object" {
        let why = format!("must be object if {MAP_TYPE} is specified");
        errors.push(match text(schema, "type") {
            "" => FieldError::required(path.child("type"), why),
            other => FieldError::invalid(path.child("type"), other, why),
        });
    }
    if !matches!(of, "atomic" | "granular") {
        errors.push(FieldError::not_supported(path.child(MAP_TYPE), of, &["granular", "atomic"]));
    }
}

/// A default is what its own schema lets through unchanged.
fn defaults(schema: &Value, read: &Structural, path: &Path, errors: &mut Vec<FieldError>) {
    if let Some(default) = &read.default {
        let at = path.child("default");
        let mut pruned = default.clone();
        structural::prune(&mut pruned, read, false);
        if pruned != *default {
            let why = "must not have unknown fields";
            errors.push(FieldError::invalid(&at, default.clone(), why));
        }
        for error in structural::check(default, read, None) {
            let field = if error.field.is_empty() { at.to_string() } else { format!("{at}.{}", error.field) };
            errors.push(FieldError { field, ..error });
        }
    }
    for (name, inner) in &read.properties {
        defaults(&schema["properties"][name.as_str()], inner, &path.child("properties").key(name), errors);
    }
    if let Some(items) = &read.items {
        defaults(&schema["items"], items, &path.child("items"), errors);
    }
    if let structural::Additional::Each(each) = &read.additional {
        defaults(&schema["additionalProperties"], each, &path.child("additionalProperties"), errors);
    }
}

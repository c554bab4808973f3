//! Whether a schema is structural: every complaint in upstream's words.
//!
//! Works on the schema's JSON, because what is forbidden in a place is not kept in a [`super::Structural`].

use serde_json::{Map, Value, json};

use crate::field::{FieldError, Path};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What keeps a schema from being structural.
pub fn complaints(schema: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    invariants(schema, Level::Root, path, &mut errors);
    complete(schema, path, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors.dedup();
    errors
}

fn flag(schema: &Value, name: &str) -> bool {
    schema[name].as_bool().unwrap_or(false)
}

fn text<'a>(schema: &'a Value, name: &str) -> &'a str {
    schema[name].as_str().unwrap_or_default()
}

fn entries<'a>(schema: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    schema[name].as_object().into_iter().flatten()
}

fn list<'a>(schema: &'a Value, name: &str) -> &'a [Value] {
    schema[name].as_array().map_or(&[], Vec::as_slice)
}

fn invariants(schema: &Value, level: Level, path: &Path, errors: &mut Vec<FieldError>) {
    match &schema["items"] {
        Value::Null if text(schema, "type") == "array" => {
            errors.push(FieldError::required(path.child("items"), "must be specified"));
        }
        items @ Value::Object(_) => invariants(items, Level::Item, &path.child("items"), errors),
        _ => {}
    }
    for (name, below) in entries(schema, "properties") {
        invariants(below, Level::Field, &path.child("properties").key(name), errors);
    }
    let additional = path.child("additionalProperties");
    match &schema["additionalProperties"] {
        Value::Null => {}
        value => {
            if level == Level::Root {
                errors.push(FieldError::forbidden(&additional, "must not be used at the root"));
            }
            if flag(schema, "x-kubernetes-embedded-resource") {
                let why = "must not be used if x-kubernetes-embedded-resource is set";
                errors.push(FieldError::forbidden(&additional, why));
            }
            if value.is_object() {
                invariants(value, Level::Field, &additional, errors);
            }
        }
    }
    extensions(schema, path, errors);
    typed(schema, level, path, errors);
    own_fields(schema, level, path, errors);
    let (skip_any, skip_all) =
        (is_int_or_string(&schema["anyOf"]), is_int_or_string(&schema["allOf"][0]["anyOf"]));
    values(schema, skip_any, skip_all, path, errors);
}

fn extensions(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if !flag(schema, "x-kubernetes-int-or-string") {
        return;
    }
    for name in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if flag(schema, name) {
            let why = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(path.child(name), true, why));
        }
    }
}

fn typed(schema: &Value, level: Level, path: &Path, errors: &mut Vec<FieldError>) {
    let (of, at) = (text(schema, "type"), path.child("type"));
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    let preserves = flag(schema, "x-kubernetes-preserve-unknown-fields");
    if embedded && of != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match of {
            "" => FieldError::required(&at, why),
            of => FieldError::invalid(&at, of, why),
        });
    } else if of.is_empty() && !flag(schema, "x-kubernetes-int-or-string") && !preserves {
        let why = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(FieldError::required(&at, why));
    }
    if level == Level::Root && !matches!(of, "" | "object") {
        errors.push(FieldError::invalid(&at, of, "must be object at the root"));
    }
    if embedded && !preserves && entries(schema, "properties").next().is_none() {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(path.child("properties"), why));
    }
}

/// `apiVersion`, `kind` and `metadata`, of which a schema may say little.
fn own_fields(schema: &Value, level: Level, path: &Path, errors: &mut Vec<FieldError>) {
    let is_object = level == Level::Root || flag(schema, "x-kubernetes-embedded-resource");
    let place = |name: &str| path.child("properties").key(name);
    for name in ["kind", "apiVersion"] {
        if let Some(field) = schema["properties"].get(name).filter(|_| is_object)
            && text(field, "type") != "string"
        {
            errors.push(FieldError::invalid(
                place(name).child("type"),
                text(field, "type"),
                "must be string",
            ));
        }
    }
    let Some(metadata) = schema["properties"].get("metadata") else { return };
    if is_object && text(metadata, "type") != "object" {
        let of = text(metadata, "type");
        errors.push(FieldError::invalid(place("metadata").child("type"), of, "must be object"));
    }
    if level == Level::Root {
        let only_names =
            entries(metadata, "properties").all(|(name, _)| matches!(name.as_str(), "name" | "generateName"));
        let other = metadata.as_object().into_iter().flatten().any(|(key, value)| {
            let empty = matches!(value, Value::Null | Value::Bool(false)) || *value == json!("");
            !matches!(key.as_str(), "type" | "properties" | "description" | "default") && !empty
        });
        if !only_names || other {
            let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            errors.push(FieldError::forbidden(place("metadata"), why));
        }
    }
}

fn is_int_or_string(any_of: &Value) -> bool {
    *any_of == json!([{"type": "integer"}, {"type": "string"}])
}

fn values(schema: &Value, skip_any: bool, skip_all: bool, path: &Path, errors: &mut Vec<FieldError>) {
    for name in ["anyOf", "allOf", "oneOf"] {
        if name == "anyOf" && skip_any {
            continue;
        }
        for (index, inner) in list(schema, name).iter().enumerate() {
            let skip = name == "allOf" && skip_all && index == 0;
            nested(inner, skip, &path.child(name).index(index), errors);
        }
    }
    if schema["not"].is_object() {
        nested(&schema["not"], false, &path.child("not"), errors);
    }
    let pattern = text(schema, "pattern");
    if let Err(error) = super::compile_pattern(pattern) {
        let why = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(FieldError::invalid(path.child("pattern"), pattern, why));
    }
}

/// What may not stand below `allOf`, `anyOf`, `oneOf` and `not`, with what it must be instead.
const FORBIDDEN: [(&str, &str); 13] = [
    ("type", "empty"),
    ("additionalProperties", "undefined"),
    ("default", "undefined"),
    ("title", "empty"),
    ("description", "empty"),
    ("nullable", "false"),
    ("externalDocs", "undefined"),
    ("x-kubernetes-preserve-unknown-fields", "false"),
    ("x-kubernetes-embedded-resource", "false"),
    ("x-kubernetes-int-or-string", "false"),
    ("x-kubernetes-list-map-keys", "empty"),
    ("x-kubernetes-list-type", "undefined"),
    ("x-kubernetes-map-type", "undefined"),
];

fn nested(schema: &Value, skip_any: bool, path: &Path, errors: &mut Vec<FieldError>) {
    values(schema, skip_any, false, path, errors);
    if schema["items"].is_object() {
        nested(&schema["items"], false, &path.child("items"), errors);
    }
    for (name, below) in entries(schema, "properties") {
        nested(below, false, &path.child("properties").key(name), errors);
    }
    for (name, what) in FORBIDDEN {
        let set = !matches!(&schema[name], Value::Null | Value::Bool(false)) && schema[name] != json!("");
        if set {
            errors.push(FieldError::forbidden(path.child(name), format!("must be {what} to be structural")));
        }
    }
    if !list(schema, "x-kubernetes-validations").is_empty() {
        let why = "must be empty to be structural";
        errors.push(FieldError::forbidden(path.child("x-kubernetes-validations"), why));
    }
    if schema["properties"].get("metadata").is_some() {
        let why = "must not be specified in a nested context";
        errors.push(FieldError::forbidden(path.child("properties").key("metadata"), why));
    }
}

/// Whatever is checked in a nested place is specified outside of it too.
fn complete(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if schema["items"].is_object() {
        complete(&schema["items"], &path.child("items"), errors);
    }
    for (name, below) in entries(schema, "properties") {
        complete(below, &path.child("properties").key(name), errors);
    }
    if schema["additionalProperties"].is_object() {
        complete(&schema["additionalProperties"], &path.child("additionalProperties"), errors);
    }
    covered(schema, schema, path, path, errors);
}

fn covered(checks: &Value, schema: &Value, at: &Path, outside: &Path, errors: &mut Vec<FieldError>) {
    for name in ["anyOf", "allOf", "oneOf"] {
        for (index, inner) in list(checks, name).iter().enumerate() {
            fields_covered(inner, schema, &at.child(name).index(index), outside, errors);
        }
    }
    if checks["not"].is_object() {
        fields_covered(&checks["not"], schema, &at.child("not"), outside, errors);
    }
}

fn fields_covered(inner: &Value, schema: &Value, at: &Path, outside: &Path, errors: &mut Vec<FieldError>) {
    covered(inner, schema, at, outside, errors);
    let because = |path: &Path| format!("because it is defined in {path}");
    if inner["items"].is_object() {
        let (inside, place) = (at.child("items"), outside.child("items"));
        if schema["items"].is_object() {
            fields_covered(&inner["items"], &schema["items"], &inside, &place, errors);
        } else {
            errors.push(FieldError::required(place, because(&inside)));
        }
    }
    let nothing = Map::new();
    let known = schema["properties"].as_object().unwrap_or(&nothing);
    for (name, below) in entries(inner, "properties") {
        let inside = at.child("properties").key(name);
        let place = outside.child("properties").key(name);
        match known.get(name) {
            Some(specified) => fields_covered(below, specified, &inside, &place, errors),
            None => errors.push(FieldError::required(place, because(&inside))),
        }
    }
}

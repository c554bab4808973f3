//! What a definition's schema may use, beyond being structural.

use serde_json::{Value, json};

use super::{lists, rules};
use crate::cel::{Budget, OBJECT_LIMIT};
use crate::field::{FieldError, Path};
use crate::structural::{self, Structural};

/// What a schema must not have.
const UNSUPPORTED: [&str; 6] =
    ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// Fields at the root that say something of an object's status as well; by their names here and in Go.
const AT_ROOT: [(&str, &str); 22] = [
    ("description", "Description"),
    ("type", "Type"),
    ("format", "Format"),
    ("title", "Title"),
    ("maximum", "Maximum"),
    ("exclusiveMaximum", "ExclusiveMaximum"),
    ("minimum", "Minimum"),
    ("exclusiveMinimum", "ExclusiveMinimum"),
    ("maxLength", "MaxLength"),
    ("minLength", "MinLength"),
    ("pattern", "Pattern"),
    ("maxItems", "MaxItems"),
    ("minItems", "MinItems"),
    ("uniqueItems", "UniqueItems"),
    ("multipleOf", "MultipleOf"),
    ("required", "Required"),
    ("items", "Items"),
    ("properties", "Properties"),
    ("externalDocs", "ExternalDocs"),
    ("example", "Example"),
    ("x-kubernetes-preserve-unknown-fields", "XPreserveUnknownFields"),
    ("x-kubernetes-validations", "XValidations"),
];

/// What is let through because it was before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ratchet {
    /// Sets of what is no atom.
    pub sets: bool,
    /// Keys and items of lists that may be null, keys that may be missing.
    pub keys: bool,
    /// Rules that are too dear.
    pub dear: bool,
}

impl Ratchet {
    /// Lets through what is wrong with a schema that was accepted.
    pub fn widen(&mut self, accepted: &Value) {
        let mut errors = Vec::new();
        if !self.sets {
            visit(accepted, &mut |schema| lists::atoms(schema, &Path::default(), &mut errors));
            self.sets = !errors.is_empty();
        }
        errors = Vec::new();
        if !self.keys {
            visit(accepted, &mut |schema| lists::keys(schema, &Path::default(), &mut errors));
            self.keys = !errors.is_empty();
        }
    }
}

fn visit(schema: &Value, each: &mut impl FnMut(&Value)) {
    if !schema.is_object() {
        return;
    }
    each(schema);
    for inner in schema["properties"].as_object().into_iter().flatten().map(|(_, inner)| inner) {
        visit(inner, each);
    }
    for name in ["items", "additionalProperties", "not"] {
        visit(&schema[name], each);
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        schema[name].as_array().into_iter().flatten().for_each(|inner| visit(inner, each));
    }
}

/// Everything that is wrong with the schema of a version, or of all.
pub(super) fn check(
    validation: &Value,
    status: bool,
    ratchet: &Ratchet,
    path: &Path,
    errors: &mut Vec<FieldError>,
) {
    let (schema, path) = (&validation["openAPIV3Schema"], path.child("openAPIV3Schema"));
    if !schema.is_object() {
        return;
    }
    let before = errors.len();
    if status {
        at_root(schema, &path, errors);
    }
    if schema["nullable"] == true {
        let path = format!("{path}.nullable");
        errors.push(FieldError::forbidden(path, "nullable cannot be true at the root"));
    }
    let mut walk = Walk { errors: Vec::new(), ratchet };
    walk.node(schema, &path, Place { root: true, ..Place::default() });
    let structural = errors.len();
    if !is_unsupported(schema) {
        errors.extend(structural::complaints(schema, &path));
        let read = (errors.len() == structural).then(|| structural::read(schema));
        if let Some(read) = &read {
            defaults(schema, read, &path, errors);
        }
    }
    errors.append(&mut walk.errors);
    if errors.len() == before {
        rules::check(schema, ratchet.dear, &path, errors);
    }
    if errors.len() == before {
        let mut budget = Budget::new(OBJECT_LIMIT);
        default_rules(&structural::read(schema), true, &path, &mut budget, errors);
    }
}

/// Whether it is so far from being structural that nothing else is asked.
fn is_unsupported(schema: &Value) -> bool {
    let mut found = false;
    visit(schema, &mut |schema| {
        found |= UNSUPPORTED.iter().any(|name| is_set(schema, name))
            || schema["items"].is_array()
            || schema["type"] == "null";
    });
    found
}

fn is_set(schema: &Value, name: &str) -> bool {
    match &schema[name] {
        Value::Null => false,
        Value::String(text) => name == "$ref" || !text.is_empty(),
        Value::Object(map) => name == "dependencies" || name == "additionalItems" || !map.is_empty(),
        _ => true,
    }
}

fn text<'a>(schema: &'a Value, name: &str) -> &'a str {
    schema[name].as_str().unwrap_or_default()
}

/// With a status of its own, the schema of a status is only what its property says.
fn at_root(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let of = text(schema, "type");
    if !of.is_empty() && of != "object" {
        let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        return errors.push(FieldError::invalid(format!("{path}.type"), of, why));
    }
    let is_zero = |value: &Value| matches!(value, Value::Null | Value::Bool(false)) || *value == json!("");
    let mut fields = schema.as_object().into_iter().flatten().filter(|(_, value)| !is_zero(value));
    if fields.any(|(name, _)| !AT_ROOT.iter().any(|(known, _)| known == name)) {
        let known: Vec<&str> = AT_ROOT.iter().map(|(_, known)| *known).collect();
        let why = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            known.join(" ")
        );
        errors.push(FieldError::invalid(path, schema.clone(), why));
    }
}

/// Where a node is.
#[derive(Clone, Debug, Default)]
struct Place {
    root: bool,
    /// In what is the metadata of an object.
    meta: bool,
    /// Why there can be no default.
    no_default: Option<String>,
}

struct Walk<'r> {
    errors: Vec<FieldError>,
    ratchet: &'r Ratchet,
}

impl Walk<'_> {
    fn node(&mut self, schema: &Value, path: &Path, place: Place) {
        self.own(schema, path, &place);
        let below = Place { root: false, ..place.clone() };
        self.below(schema, path, &place, &below);
        if schema["x-kubernetes-preserve-unknown-fields"] == false {
            let at = path.child("x-kubernetes-preserve-unknown-fields");
            self.errors.push(FieldError::invalid(at, false, "must be true or undefined"));
        }
        lists::check(schema, self.ratchet, path, &mut self.errors);
        rules::texts(schema, path, &mut self.errors);
    }

    fn own(&mut self, schema: &Value, path: &Path, place: &Place) {
        let of = text(schema, "type");
        if !of.is_empty() && !TYPES.contains(&of) {
            self.errors.push(FieldError::not_supported(path.child("type"), of, &TYPES));
        }
        if let Some(reason) = &place.no_default
            && !schema["default"].is_null()
        {
            let why = format!("must not be set {reason}");
            self.errors.push(FieldError::forbidden(path.child("default"), why));
        }
        let mut forbid = |name: &str, why: &str| {
            self.errors.push(FieldError::forbidden(path.child(name), why));
        };
        for name in UNSUPPORTED.into_iter().filter(|name| is_set(schema, name)) {
            forbid(name, &format!("{name} is not supported"));
        }
        if of == "null" {
            forbid("type", "type cannot be set to null, use nullable as an alternative");
        }
        if schema["items"].is_array() {
            forbid("items", "items must be a schema object and not an array");
        }
        if place.meta && schema["x-kubernetes-embedded-resource"] == true {
            forbid("x-kubernetes-embedded-resource", "must not be used inside of resource meta");
        }
        if schema["uniqueItems"] == true {
            let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            forbid("uniqueItems", why);
        }
        let named = schema["properties"].as_object().is_some_and(|fields| !fields.is_empty());
        if named && matches!(schema["additionalProperties"], Value::Bool(false) | Value::Object(_)) {
            forbid("additionalProperties", "additionalProperties and properties are mutual exclusive");
        }
    }

    fn below(&mut self, schema: &Value, path: &Path, place: &Place, below: &Place) {
        if schema["additionalProperties"].is_object() {
            let mut inner = below.clone();
            if place.meta {
                inner.no_default = Some("inside additionalProperties applying to object metadata".into());
            }
            self.node(&schema["additionalProperties"], &path.child("additionalProperties"), inner);
        }
        let object = place.root || schema["x-kubernetes-embedded-resource"] == true;
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let mut inner = below.clone();
            if object && matches!(name.as_str(), "metadata" | "kind" | "apiVersion") {
                inner.meta = true;
                if place.root {
                    inner.no_default = Some(format!("in top-level {name}"));
                }
            }
            self.node(property, &path.child("properties").key(name), inner);
        }
        if schema["not"].is_object() {
            self.node(&schema["not"], &path.child("not"), below.clone());
        }
        for name in ["allOf", "oneOf", "anyOf"] {
            for (index, inner) in schema[name].as_array().into_iter().flatten().enumerate() {
                self.node(inner, &path.child(name).index(index), below.clone());
            }
        }
        if schema["items"].is_object() {
            self.node(&schema["items"], &path.child("items"), below.clone());
        }
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
            let field = inside(&at, &error.field);
            errors.push(FieldError { field, ..error });
        }
    }
    if let Some(items) = &read.items {
        defaults(&schema["items"], items, &path.child("items"), errors);
    }
    for (name, inner) in &read.properties {
        defaults(&schema["properties"][name.as_str()], inner, &path.child("properties").key(name), errors);
    }
    if let structural::Additional::Each(each) = &read.additional {
        defaults(&schema["additionalProperties"], each, &path.child("additionalProperties"), errors);
    }
}

fn inside(at: &Path, field: &str) -> String {
    match field {
        "" => at.to_string(),
        field if field.starts_with('[') => format!("{at}{field}"),
        field => format!("{at}.{field}"),
    }
}

/// A default keeps the rules about it, as a new value and as one that stays.
fn default_rules(
    read: &Structural,
    root: bool,
    path: &Path,
    budget: &mut Budget,
    errors: &mut Vec<FieldError>,
) {
    if !read.has_defaults || !read.has_rules {
        return;
    }
    if let Some(default) = read.default.as_ref().filter(|_| read.has_rules) {
        let at = path.child("default");
        for old in [Some(default), None] {
            let found = structural::check_rules_within(default, read, old, root, budget);
            if !found.is_empty() {
                errors.extend(found.into_iter().map(|error| {
                    let field = inside(&at, &error.field);
                    FieldError { field, ..error }
                }));
                break;
            }
        }
    }
    if let Some(items) = &read.items {
        default_rules(items, false, &path.child("items"), budget, errors);
    }
    for (name, inner) in &read.properties {
        default_rules(inner, false, &path.child("properties").key(name), budget, errors);
    }
}

//! Lists and maps of a schema: which of them are sets, maps by key, or atoms.

use std::collections::HashSet;

use serde_json::Value;

use super::schema::Ratchet;
use super::validation::{list, text};
use crate::field::{FieldError, Path};

const LIST_TYPE: &str = "x-kubernetes-list-type";
const MAP_TYPE: &str = "x-kubernetes-map-type";
const KEYS: &str = "x-kubernetes-list-map-keys";

/// What is wrong with one node.
pub(super) fn check(schema: &Value, ratchet: &Ratchet, path: &Path, errors: &mut Vec<FieldError>) {
    if let Some(of) = schema[MAP_TYPE].as_str() {
        has_type(schema, "object", MAP_TYPE, path, errors);
        if !matches!(of, "atomic" | "granular") {
            errors.push(FieldError::not_supported(path.child(MAP_TYPE), of, &["atomic", "granular"]));
        }
    }
    let given = schema[LIST_TYPE].as_str();
    if given.is_some() && has_type(schema, "array", LIST_TYPE, path, errors) && !ratchet.sets {
        atoms(schema, path, errors);
    }
    let at = path.child(LIST_TYPE);
    if let Some(of) = given.filter(|of| !matches!(*of, "atomic" | "set" | "map")) {
        errors.push(FieldError::not_supported(&at, of, &["atomic", "set", "map"]));
    }
    let why = format!("must be map if {KEYS} is non-empty");
    match given {
        _ if list(schema, KEYS).is_empty() => {}
        None => errors.push(FieldError::required(&at, why)),
        Some("map") => {}
        Some(of) => errors.push(FieldError::invalid(&at, of, why)),
    }
    if given == Some("map") {
        map(schema, path, errors);
    }
    if !ratchet.keys {
        keys(schema, path, errors);
    }
}

/// Whether a node has the type that goes with how it is owned.
fn has_type(schema: &Value, wanted: &str, because: &str, path: &Path, errors: &mut Vec<FieldError>) -> bool {
    let why = format!("must be {wanted} if {because} is specified");
    match text(schema, "type") {
        of if of == wanted => return true,
        "" => errors.push(FieldError::required(path.child("type"), why)),
        of => errors.push(FieldError::invalid(path.child("type"), of, why)),
    }
    false
}

/// A set holds atoms alone.
pub(super) fn atoms(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let items = &schema["items"];
    if text(schema, LIST_TYPE) != "set" || text(schema, "type") != "array" {
        return;
    }
    let (name, fits) = match text(items, "type") {
        "array" => (LIST_TYPE, matches!(items[LIST_TYPE].as_str(), None | Some("atomic"))),
        "object" => (MAP_TYPE, items[MAP_TYPE] == "atomic"),
        _ => return,
    };
    if !fits {
        let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
        // Of a map too, upstream shows the type of a list.
        errors.push(FieldError::invalid(path.child("items").child(name), items[LIST_TYPE].clone(), why));
    }
}

/// A list that is a map by keys.
fn map(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (items, place, at) = (&schema["items"], path.child("items"), path.child(KEYS));
    if list(schema, KEYS).is_empty() {
        let why = format!("must not be empty if {LIST_TYPE} is map");
        errors.push(FieldError::required(&at, why));
    }
    match items {
        Value::Null => {
            errors.push(FieldError::required(place, format!("must have a schema if {LIST_TYPE} is map")));
            return;
        }
        Value::Array(_) => {
            let why = format!("must only have a single schema if {LIST_TYPE} is map");
            errors.push(FieldError::invalid(place, items.clone(), why));
            return;
        }
        _ => {}
    }
    let of = text(items, "type");
    if of != "object" {
        let why = format!("must be object if parent array's {LIST_TYPE} is map");
        errors.push(FieldError::invalid(place.child("type"), of, why));
        return;
    }
    let (mut seen, mut missing, mut twice) = (HashSet::new(), false, false);
    for key in list(schema, KEYS).iter().filter_map(Value::as_str) {
        match items["properties"].get(key) {
            Some(property) if matches!(text(property, "type"), "array" | "object") => {
                // Upstream shows the type of the items.
                let path = place.child("properties").key(key).child("type");
                let why = format!("must be a scalar type if parent array's {LIST_TYPE} is map");
                errors.push(FieldError::invalid(path, of, why));
            }
            Some(_) => {}
            None => missing = true,
        }
        twice |= !seen.insert(key);
    }
    for (_, why) in [
        (missing, "entries must all be names of item properties"),
        (twice, "must not contain duplicate entries"),
    ]
    .into_iter()
    .filter(|(found, _)| *found)
    {
        errors.push(FieldError::invalid(&at, schema[KEYS].clone(), why));
    }
}

/// Items of sets and maps are there; so are the keys of a map.
pub(super) fn keys(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (items, place) = (&schema["items"], path.child("items"));
    let of = text(schema, LIST_TYPE);
    if !items.is_object() || !matches!(of, "set" | "map") {
        return;
    }
    if items["nullable"] == true {
        let why = format!("cannot be nullable when {LIST_TYPE} is {of}");
        errors.push(FieldError::forbidden(place.child("nullable"), why));
    }
    if of != "map" {
        return;
    }
    let required: HashSet<&str> = list(items, "required").iter().filter_map(Value::as_str).collect();
    for key in list(schema, KEYS).iter().filter_map(Value::as_str) {
        let Some(property) = items["properties"].get(key) else { continue };
        let at = place.child("properties").key(key);
        if !required.contains(key) && property["default"].is_null() {
            let why =
                format!("this property is in {KEYS}, so it must have a default or be a required property");
            errors.push(FieldError::required(at.child("default"), why));
        }
        if property["nullable"] == true {
            let why = format!("this property is in {KEYS}, so it cannot be nullable");
            errors.push(FieldError::forbidden(at.child("nullable"), why));
        }
    }
}

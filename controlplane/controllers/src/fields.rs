//! Fields of objects in JSON, by pointer; what is absent reads as nothing.

use api::meta::Meta;
use client::Resource;
use serde_json::{Map, Value, json};

pub(crate) fn int(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(crate) fn map<'a>(object: &'a Value, pointer: &str) -> Option<&'a Map<String, Value>> {
    object.pointer(pointer).and_then(Value::as_object)
}

pub(crate) fn is_deleting(object: &Value) -> bool {
    Meta::of(object).deletion_timestamp().is_some()
}

/// The condition of a type in the status.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(object, "/status/conditions").iter().find(|condition| condition["type"] == kind)
}

/// A time of the object; the beginning of time where there is none.
pub(crate) fn time(object: &Value, pointer: &str) -> jiff::Timestamp {
    text(object, pointer).parse().unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// The reference of a managed object to its controller.
pub(crate) fn controller_reference(resource: &Resource, owner: &Value) -> Value {
    let meta = Meta::of(owner);
    json!({
        "apiVersion": resource.api_version(), "kind": resource.kind, "name": meta.name(), "uid": meta.uid(),
        "controller": true, "blockOwnerDeletion": true,
    })
}

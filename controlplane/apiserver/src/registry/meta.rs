//! `metadata` over JSON: what the engine itself reads and writes there.

use api::status::Status;
use serde_json::{Map, Value};

/// The metadata of an object, made where it is missing.
pub fn of_mut(object: &mut Value) -> Result<&mut Map<String, Value>, Status> {
    let Value::Object(fields) = object else {
        return Err(Status::bad_request("the object provided is not a JSON object"));
    };
    let metadata = fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if metadata.is_null() {
        *metadata = Value::Object(Map::new());
    }
    metadata.as_object_mut().ok_or_else(|| Status::bad_request("metadata is not a JSON object"))
}

/// A text of the metadata; empty where it is missing.
pub fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object["metadata"][name].as_str().unwrap_or_default()
}

/// `resourceVersion`, 0 where it is not set.
pub fn resource_version(object: &Value) -> Result<u64, Status> {
    match text(object, "resourceVersion") {
        "" => Ok(0),
        text => text.parse().map_err(|_| {
            Status::bad_request(format!(
                "invalid resource version {text:?}: it must be a number that a read returned"
            ))
        }),
    }
}

/// Finalizers.
pub fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether a deletion has begun.
pub fn is_deleting(object: &Value) -> bool {
    !text(object, "deletionTimestamp").is_empty()
}

/// Times in metadata have whole seconds.
pub fn time(now: jiff::Timestamp) -> Value {
    let seconds = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now);
    Value::String(seconds.to_string())
}

//! Strategic merge patch: a merge patch that knows which lists are maps in disguise.
//!
//! ```text
//! $patch: replace|delete|merge         in a map, or in an item of a merged list
//! $retainKeys: [a, b]                  keep only these keys of the original map
//! $deleteFromPrimitiveList/f: [x]      take items out of a merged list of scalars
//! $setElementOrder/f: [..]             order of the items after the merge
//! ```
//!
//! Invariant: directives never reach the result.

mod list;
mod order;

use serde_json::{Map, Value};
use thiserror::Error;

use crate::schema::{Field, Shape, Type};
use crate::status::Status;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_PREFIX: &str = "$deleteFromPrimitiveList/";
const ORDER_PREFIX: &str = "$setElementOrder/";

/// A patch that makes no sense.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StrategicError {
    #[error("unknown patch type '{0}' in map")]
    Directive(String),
    #[error("delete patch type with no merge key defined")]
    DeleteWithoutKey,
    #[error("merging lists cannot yet be specified in the patch")]
    MergeDirective,
    #[error("map: {item} does not contain declared merge key: {key}")]
    NoMergeKey { item: String, key: String },
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    #[error("invalid patch format of primitive list")]
    PrimitiveList,
    #[error("invalid patch format of setElementOrder list")]
    ElementOrder,
    #[error("cannot merge lists without merge key for {0}")]
    NoKeyDeclared(String),
}

impl StrategicError {
    /// Malformed directives are 400; a patch that does not fit the type is upstream's generic 422.
    pub fn into_status(self) -> Status {
        match self {
            StrategicError::RetainKeys
            | StrategicError::PrimitiveList
            | StrategicError::ElementOrder
            | StrategicError::Directive(_)
            | StrategicError::DeleteWithoutKey
            | StrategicError::MergeDirective => Status::bad_request(self.to_string()),
            StrategicError::NoMergeKey { .. } | StrategicError::NoKeyDeclared(_) => Status::internal(self),
        }
    }
}

/// Merges `patch` into `original`, both objects of a type.
pub fn strategic_merge(original: Value, patch: Value, kind: &'static Type) -> Result<Value, StrategicError> {
    match (original, patch) {
        (Value::Object(original), Value::Object(patch)) => {
            merge_map(original, patch, Place::Object(kind)).map(Value::Object)
        }
        (_, patch) => Ok(patch),
    }
}

/// Where in the schema a map lies.
#[derive(Clone, Copy)]
enum Place {
    Object(&'static Type),
    /// A map with values of one shape.
    Map(&'static Shape),
    /// Free-form, or not in the schema.
    Unknown,
}

impl Place {
    fn of(shape: &'static Shape) -> Place {
        match shape {
            Shape::Object(kind) => Place::Object(kind),
            Shape::Map(inner) => Place::Map(inner),
            _ => Place::Unknown,
        }
    }

    fn field(self, name: &str) -> Option<&'static Field> {
        match self {
            Place::Object(kind) => kind.field(name),
            _ => None,
        }
    }

    /// Where the value of a key lies.
    fn below(self, name: &str) -> Place {
        match self {
            Place::Object(kind) => kind.field(name).map_or(Place::Unknown, |field| Place::of(&field.shape)),
            Place::Map(inner) => Place::of(inner),
            Place::Unknown => Place::Unknown,
        }
    }
}

fn merge_map(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    place: Place,
) -> Result<Map<String, Value>, StrategicError> {
    match patch.shift_remove(DIRECTIVE) {
        None => {}
        Some(Value::String(directive)) if directive == "replace" => return Ok(without_directives(patch)),
        Some(Value::String(directive)) if directive == "delete" => return Ok(Map::new()),
        Some(Value::String(directive)) if directive == "merge" => {}
        Some(other) => return Err(StrategicError::Directive(other.as_str().unwrap_or_default().to_owned())),
    }
    retain_keys(&mut original, &mut patch)?;
    order::apply(&mut original, &mut patch, place)?;
    for (key, value) in patch {
        if let Some(name) = key.strip_prefix(DELETE_FROM_PREFIX) {
            let Value::Array(unwanted) = value else { return Err(StrategicError::PrimitiveList) };
            if let Some(Value::Array(items)) = original.get_mut(name) {
                items.retain(|item| !unwanted.contains(item));
            }
            continue;
        }
        if value.is_null() {
            original.shift_remove(&key);
            continue;
        }
        let merged = match (original.get_mut(&key).map(Value::take), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                Value::Object(merge_map(old, new, place.below(&key))?)
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                Value::Array(list::merge_field(old, new, place.field(&key))?)
            }
            (_, new) => stripped(new),
        };
        original.insert(key, merged);
    }
    Ok(original)
}

/// `$retainKeys`: everything the patch sets must be listed, everything not listed goes.
fn retain_keys(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
) -> Result<(), StrategicError> {
    let listed = match patch.shift_remove(RETAIN_KEYS) {
        None => return Ok(()),
        Some(Value::Array(listed)) => listed,
        Some(_) => return Err(StrategicError::RetainKeys),
    };
    let keeps = |key: &str| listed.iter().any(|item| item == key);
    for (key, value) in patch.iter() {
        let directive = key.starts_with(DELETE_FROM_PREFIX) || key.starts_with(ORDER_PREFIX);
        if !value.is_null() && !directive && !keeps(key) {
            return Err(StrategicError::RetainKeys);
        }
    }
    original.retain(|key, _| keeps(key));
    Ok(())
}

/// A value that meets nothing in the original: nulls say "absent", directives have nothing to act on.
fn stripped(value: Value) -> Value {
    match value {
        Value::Object(map) => match map.get(DIRECTIVE).and_then(Value::as_str) {
            Some("delete") => Value::Object(Map::new()),
            _ => Value::Object(without_directives(map)),
        },
        Value::Array(items) => {
            let kept = items
                .into_iter()
                .filter(|item| item.get(DIRECTIVE).and_then(Value::as_str) != Some("delete"));
            let kept = kept.filter(|item| {
                !(item.get(DIRECTIVE).is_some() && item.as_object().is_some_and(|map| map.len() == 1))
            });
            Value::Array(kept.map(stripped).collect())
        }
        other => other,
    }
}

fn without_directives(map: Map<String, Value>) -> Map<String, Value> {
    map.into_iter()
        .filter(|(key, value)| !value.is_null() && !is_directive(key))
        .map(|(key, value)| (key, stripped(value)))
        .collect()
}

fn is_directive(key: &str) -> bool {
    key == DIRECTIVE
        || key == RETAIN_KEYS
        || key.starts_with(DELETE_FROM_PREFIX)
        || key.starts_with(ORDER_PREFIX)
}

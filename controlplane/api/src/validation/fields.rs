//! Reading an object as Go reads a struct: what is not there is empty, never an error.
//!
//! Not checks of shapes: `schema` made those; a value of another type reads as absent.

use serde_json::Value;

use crate::field::Path;
use crate::quantity::Quantity;

/// The fields of an object.
pub(crate) trait Fields {
    /// A part that is there.
    fn part(&self, name: &str) -> Option<&Value>;
    /// A string, empty when absent.
    fn text(&self, name: &str) -> &str;
    /// A number that is there.
    fn number(&self, name: &str) -> Option<i64>;
    /// A boolean, false when absent.
    fn flag(&self, name: &str) -> bool;
    /// A list, empty when absent.
    fn list(&self, name: &str) -> &[Value];
    /// The entries of a map, in its order.
    fn entries(&self, name: &str) -> impl Iterator<Item = (&str, &Value)>;
    /// The strings of a list.
    fn texts(&self, name: &str) -> impl Iterator<Item = &str>;
    /// The quantity at an entry of a map.
    fn quantity(&self, name: &str) -> Option<Quantity>;
}

impl Fields for Value {
    fn part(&self, name: &str) -> Option<&Value> {
        self.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> &str {
        self.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(Value::as_i64)
    }

    fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    fn list(&self, name: &str) -> &[Value] {
        self.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    fn entries(&self, name: &str) -> impl Iterator<Item = (&str, &Value)> {
        let map = self.get(name).and_then(Value::as_object);
        map.into_iter().flatten().map(|(key, value)| (key.as_str(), value))
    }

    fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.list(name).iter().map(|item| item.as_str().unwrap_or_default())
    }

    fn quantity(&self, name: &str) -> Option<Quantity> {
        self.get(name).and_then(parse_quantity)
    }
}

/// A quantity written as text.
pub(super) fn parse_quantity(value: &Value) -> Option<Quantity> {
    Quantity::parse(value.as_str()?).ok()
}

/// Whether nothing is there: absent, or an empty object, list or string.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Equal as upstream sees it: quantities by value are equal in canonical form already, empty and absent are the same.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a_map), Value::Object(b_map)) => {
            a_map.iter().all(|(key, value)| equal(value, &b[key]))
                && b_map.iter().all(|(key, value)| a_map.contains_key(key) || is_nothing(value))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (a, Value::Null) | (Value::Null, a) => is_nothing(a),
        (a, b) => a == b,
    }
}

fn is_nothing(value: &Value) -> bool {
    matches!(value, Value::Null)
        || value.as_array().is_some_and(Vec::is_empty)
        || value.as_object().is_some_and(serde_json::Map::is_empty)
}

/// The items of a list with their paths.
pub(crate) fn items<'a>(
    object: &'a Value,
    name: &'a str,
    path: &Path,
) -> impl Iterator<Item = (Path, &'a Value)> + use<'a> {
    let path = path.child(name);
    object.list(name).iter().enumerate().map(move |(index, item)| (path.index(index), item))
}

//! Where in the schema a value lies, as apply sees it: what has parts that can be owned one by one, and how those
//! parts are called.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::field::quote;
use crate::schema::{Field, ListType, Shape, Type};

/// How a value can be owned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Field by field.
    Struct(&'static Type),
    /// Key by key.
    Map(&'static Shape),
    /// Item by item, named by these keys.
    Keyed(&'static [&'static str], &'static Shape),
    /// Value by value.
    Set,
    /// As one piece.
    Whole,
}

impl Place {
    fn of_field(field: &'static Field) -> Place {
        match field.shape {
            _ if field.atomic => Place::Whole,
            Shape::List(inner) => match field.list {
                ListType::Map(keys) => Place::Keyed(keys, inner),
                ListType::Set => Place::Set,
                ListType::Atomic | ListType::Unset => Place::Whole,
            },
            ref shape => Place::of_shape(shape),
        }
    }

    fn of_shape(shape: &Shape) -> Place {
        match *shape {
            Shape::Object(kind) if !kind.atomic => Place::Struct(kind),
            Shape::Map(inner) => Place::Map(inner),
            _ => Place::Whole,
        }
    }

    /// Whether a value here has parts of its own.
    pub(super) fn is_granular(self, value: &Value) -> bool {
        match self {
            Place::Struct(_) | Place::Map(_) => value.is_object(),
            Place::Keyed(..) | Place::Set => value.is_array(),
            Place::Whole => false,
        }
    }

    /// Whether its parts come and go as a whole: keys of maps and items of lists, unlike fields.
    pub(super) fn has_items(self) -> bool {
        matches!(self, Place::Map(_) | Place::Keyed(..) | Place::Set)
    }
}

/// The parts of a value: what they are called, what they are, and their places.
pub(super) fn children(value: &Value, place: Place) -> Vec<(String, &Value, Place)> {
    match (place, value) {
        (Place::Struct(kind), Value::Object(fields)) => fields
            .iter()
            .map(|(name, inner)| {
                (format!("f:{name}"), inner, kind.field(name).map_or(Place::Whole, Place::of_field))
            })
            .collect(),
        (Place::Map(shape), Value::Object(entries)) => {
            entries.iter().map(|(key, inner)| (format!("f:{key}"), inner, Place::of_shape(shape))).collect()
        }
        (Place::Keyed(keys, shape), Value::Array(items)) => {
            items.iter().map(|item| (key_of(item, keys), item, Place::of_shape(shape))).collect()
        }
        (Place::Set, Value::Array(items)) => {
            items.iter().map(|item| (format!("v:{item}"), item, Place::Whole)).collect()
        }
        _ => Vec::new(),
    }
}

/// The place of a part by its name.
pub(super) fn below(place: Place, element: &str) -> Place {
    match place {
        Place::Struct(kind) => {
            element.strip_prefix("f:").and_then(|name| kind.field(name)).map_or(Place::Whole, Place::of_field)
        }
        Place::Map(shape) | Place::Keyed(_, shape) => Place::of_shape(shape),
        Place::Set | Place::Whole => Place::Whole,
    }
}

/// What an item of a list is called.
pub(super) fn key_of(item: &Value, keys: &[&str]) -> String {
    let mut names = keys.to_vec();
    names.sort_unstable();
    let named = names.into_iter().filter_map(|name| {
        let value = item.get(name).filter(|value| !value.is_null()).cloned();
        Some((name.to_owned(), value.or_else(|| default_of(name))?))
    });
    format!("k:{}", Value::Object(named.collect()))
}

/// Of the keys of lists only this one has a default.
fn default_of(key: &str) -> Option<Value> {
    (key == "protocol").then(|| "TCP".into())
}

/// Two items of one list with one name could not be told apart.
pub(super) fn check_keys(value: &Value, place: Place) -> Result<(), String> {
    let mut path = Vec::new();
    check_below(value, place, &mut path)
}

fn check_below(value: &Value, place: Place, path: &mut Vec<String>) -> Result<(), String> {
    if let (Place::Keyed(keys, _), Value::Array(items)) = (place, value) {
        for (at, item) in items.iter().enumerate() {
            if let Some(key) = keys.iter().find(|key| item.get(**key).is_none() && default_of(key).is_none())
            {
                return Err(format!(
                    "{}: element {at}: associative list with keys has an element that omits key field {} (and doesn't have default value)",
                    shown(path),
                    quote(key)
                ));
            }
        }
    }
    let mut seen = BTreeSet::new();
    for (element, child, below) in children(value, place) {
        if !seen.insert(element.clone()) && place.has_items() {
            return Err(format!("{}: duplicate entries for key {}", shown(path), shown(&[element])));
        }
        path.push(element);
        check_below(child, below, path)?;
        path.pop();
    }
    Ok(())
}

/// The element as it is written here: keys in order, no spaces.
pub(super) fn read_element(text: &str) -> Result<String, String> {
    let refuse = || format!("{} names no part of an object", quote(text));
    let (kind, rest) = text.split_once(':').ok_or_else(refuse)?;
    match kind {
        "f" => Ok(text.to_owned()),
        "i" => rest.parse::<i64>().map(|_| text.to_owned()).map_err(|_| refuse()),
        "v" => serde_json::from_str::<Value>(rest).map(|value| format!("v:{value}")).map_err(|_| refuse()),
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).map_err(|_| refuse())?;
            let mut keys: Vec<_> = keys.into_iter().collect();
            keys.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(format!("k:{}", Value::Object(keys.into_iter().collect())))
        }
        _ => Err(refuse()),
    }
}

/// A path in upstream's words: `.spec.template.spec.containers[name="c"].image`.
pub(super) fn shown(path: &[String]) -> String {
    path.iter()
        .map(|element| match element.split_at_checked(2) {
            Some(("f:", name)) => format!(".{name}"),
            Some(("v:", value)) => format!("[={value}]"),
            Some(("i:", index)) => format!("[{index}]"),
            Some(("k:", keys)) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                format!("[{}]", keys.join(","))
            }
            _ => element.clone(),
        })
        .collect()
}

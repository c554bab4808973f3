//! Where in the schema a value lies, as apply sees it: what has parts that can be owned one by one, and how those
//! parts are called.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::custom::Custom;
use crate::field::quote;
use crate::schema::{Field, ListType, Shape, Type, TypeError, canonical, object_meta};
use crate::structural::{Additional, List, Structural};

/// What an object is of.
#[derive(Clone, Copy, Debug)]
pub enum Of<'a> {
    Type(&'static Type),
    Custom(&'a Custom),
}

impl<'a> Of<'a> {
    pub(super) fn place(self) -> Place<'a> {
        match self {
            Of::Type(kind) => Place::Struct(kind),
            Of::Custom(custom) => Place::Node(custom.schema(), true),
        }
    }

    pub(super) fn canonical(self, object: Value) -> Result<Value, TypeError> {
        match self {
            Of::Type(kind) => canonical(object, kind),
            Of::Custom(custom) => custom.accept(object),
        }
    }
}

/// How a value can be owned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
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
    /// Field by field, along a schema; the flag says that it is the root.
    Node(&'a Structural, bool),
    /// Key by key, each along a schema.
    NodeMap(&'a Structural),
    /// Item by item along a schema, named by these keys.
    NodeKeyed(&'a [String], &'a Structural),
    /// What no schema knows: objects key by key, everything else as one piece.
    Unknown,
}

/// A key of a list's items with what it is where it is missing.
pub(super) type Key<'a> = (&'a str, Option<Value>);

impl<'a> Place<'a> {
    fn of_field(field: &'static Field) -> Place<'a> {
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

    fn of_shape(shape: &Shape) -> Place<'a> {
        match *shape {
            Shape::Object(kind) if !kind.atomic => Place::Struct(kind),
            Shape::Map(inner) => Place::Map(inner),
            _ => Place::Whole,
        }
    }

    fn of_node(schema: &'a Structural) -> Place<'a> {
        match (schema.of, &schema.list) {
            ("object", _) if schema.atomic_map => Place::Whole,
            ("object", _) => match &schema.additional {
                Additional::Each(each) if schema.properties.is_empty() => Place::NodeMap(each),
                _ => Place::Node(schema, false),
            },
            ("array", List::Set) => Place::Set,
            ("array", List::Map(keys)) => {
                schema.items.as_deref().map_or(Place::Whole, |items| Place::NodeKeyed(keys, items))
            }
            ("", _) if schema.preserves => Place::Unknown,
            _ => Place::Whole,
        }
    }

    fn of_property(schema: &'a Structural, root: bool, name: &str) -> Place<'a> {
        match name {
            "metadata" if root || schema.embedded => Place::Struct(object_meta()),
            _ => match schema.field(name) {
                Some(below) => Place::of_node(below),
                None if schema.preserves || matches!(schema.additional, Additional::Any) => Place::Unknown,
                None => Place::Whole,
            },
        }
    }

    /// Whether a value here has parts of its own.
    pub(super) fn is_granular(self, value: &Value) -> bool {
        (self.has_fields() && value.is_object()) || (self.has_list_items() && value.is_array())
    }

    /// Whether it is always owned as one piece.
    pub(super) fn is_whole(self) -> bool {
        matches!(self, Place::Whole)
    }

    /// Whether an object here has parts of its own.
    pub(super) fn has_fields(self) -> bool {
        matches!(
            self,
            Place::Struct(_) | Place::Map(_) | Place::Node(..) | Place::NodeMap(_) | Place::Unknown
        )
    }

    /// Whether a list here has parts of its own.
    pub(super) fn has_list_items(self) -> bool {
        matches!(self, Place::Keyed(..) | Place::NodeKeyed(..) | Place::Set)
    }

    /// Whether its parts come and go as a whole: keys of maps and items of lists, unlike fields.
    pub(super) fn has_items(self) -> bool {
        self.has_list_items() || matches!(self, Place::Map(_) | Place::NodeMap(_) | Place::Unknown)
    }

    /// What names the items of a list here.
    pub(super) fn keys(self) -> Option<Vec<Key<'a>>> {
        match self {
            Place::Keyed(keys, _) => Some(keys.iter().map(|key| (*key, default_of(key))).collect()),
            Place::NodeKeyed(keys, items) => {
                let default = |key: &str| items.properties.get(key).and_then(|schema| schema.default.clone());
                Some(keys.iter().map(|key| (key.as_str(), default(key))).collect())
            }
            _ => None,
        }
    }

    /// The place of a field or key.
    fn named(self, name: &str) -> Place<'a> {
        match self {
            Place::Struct(kind) => kind.field(name).map_or(Place::Whole, Place::of_field),
            Place::Map(shape) => Place::of_shape(shape),
            Place::Node(schema, root) => Place::of_property(schema, root, name),
            Place::NodeMap(each) => Place::of_node(each),
            Place::Unknown => Place::Unknown,
            _ => Place::Whole,
        }
    }

    /// The place of an item.
    fn item(self) -> Place<'a> {
        match self {
            Place::Keyed(_, shape) => Place::of_shape(shape),
            Place::NodeKeyed(_, items) => Place::of_node(items),
            _ => Place::Whole,
        }
    }
}

/// The parts of a value: what they are called, what they are, and their places.
pub(super) fn children<'v, 'a>(value: &'v Value, place: Place<'a>) -> Vec<(String, &'v Value, Place<'a>)> {
    match value {
        Value::Object(fields) if place.has_fields() => {
            fields.iter().map(|(name, inner)| (format!("f:{name}"), inner, place.named(name))).collect()
        }
        Value::Array(items) if place.has_list_items() => {
            let keys = place.keys();
            let name = |item: &Value| match &keys {
                Some(keys) => key_of(item, keys),
                None => format!("v:{item}"),
            };
            items.iter().map(|item| (name(item), item, place.item())).collect()
        }
        _ => Vec::new(),
    }
}

/// The place of a part by its name.
pub(super) fn below<'a>(place: Place<'a>, element: &str) -> Place<'a> {
    match element.strip_prefix("f:") {
        Some(name) => place.named(name),
        None => place.item(),
    }
}

/// What an item of a list is called.
pub(super) fn key_of(item: &Value, keys: &[Key<'_>]) -> String {
    let mut names: Vec<&Key<'_>> = keys.iter().collect();
    names.sort_unstable_by_key(|(name, _)| *name);
    let named = names.into_iter().filter_map(|(name, default)| {
        let value = item.get(name).filter(|value| !value.is_null()).cloned();
        Some(((*name).to_owned(), value.or_else(|| default.clone())?))
    });
    format!("k:{}", Value::Object(named.collect()))
}

/// Of the keys of built-in lists only this one has a default.
fn default_of(key: &str) -> Option<Value> {
    (key == "protocol").then(|| "TCP".into())
}

/// Two items of one list with one name could not be told apart.
pub(super) fn check_keys(value: &Value, place: Place<'_>) -> Result<(), String> {
    let mut path = Vec::new();
    check_below(value, place, &mut path)
}

fn check_below(value: &Value, place: Place<'_>, path: &mut Vec<String>) -> Result<(), String> {
    if let (Some(keys), Value::Array(items)) = (place.keys(), value) {
        for (at, item) in items.iter().enumerate() {
            let missing = keys.iter().find(|(key, default)| item.get(key).is_none() && default.is_none());
            if let Some((key, _)) = missing {
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

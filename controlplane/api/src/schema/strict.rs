//! Reads JSON (or YAML) text along a type and reports unknown and doubled fields, which a plain parse forgets.
//!
//! Not type checking: that is `canonical`. Unknown fields stay in the value, so the caller decides their fate.
//! Invariant: paths and sentences are upstream's: `unknown field "spec.foo"`, `duplicate field "spec.foo"`.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{Shape, Type};
use crate::field::quote;

/// A report names at most this many fields, as upstream.
pub const ISSUES_MAX: usize = 100;
/// Nesting beyond this is refused, in any form and however it came about; nothing in the API comes near. Decoders of JSON
/// refuse 128: the rest is for what objects are wrapped in, and for the owners of their fields.
pub const DEPTH_MAX: usize = 100;

/// How deep a value is nested: a scalar is not, an empty list is once.
pub fn depth(value: &Value) -> usize {
    let below = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(fields) => fields.values().map(depth).max(),
        _ => return 0,
    };
    1 + below.unwrap_or(0)
}

/// A parsed text and what was odd about its fields.
#[derive(Debug, Default)]
pub struct Decoded {
    pub value: Value,
    /// Finished sentences, in the order of the text.
    pub issues: Vec<String>,
}

/// Parses JSON; `kind` of `None` reports doubled fields only.
pub fn decode_json(text: &[u8], kind: Option<&'static Type>) -> Result<Decoded, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let decoded = decode_with(&mut deserializer, kind)?;
    deserializer.end()?;
    Ok(decoded)
}

/// The same from any self-describing format.
pub(crate) fn decode_with<'de, D: Deserializer<'de>>(
    deserializer: D,
    kind: Option<&'static Type>,
) -> Result<Decoded, D::Error> {
    let mut walk = Walk { path: String::new(), depth: 0, issues: Vec::new() };
    let seed = Seed { walk: &mut walk, expect: kind.map_or(Expect::Anything, Expect::Object) };
    let value = seed.deserialize(deserializer)?;
    Ok(Decoded { value, issues: walk.issues })
}

/// The unknown fields of a value that is no text any more (the result of a patch).
pub fn unknown_fields(value: &Value, kind: &'static Type) -> Vec<String> {
    let mut walk = Walk { path: String::new(), depth: 0, issues: Vec::new() };
    scan(value, Expect::Object(kind), &mut walk);
    walk.issues
}

fn scan(value: &Value, expect: Expect, walk: &mut Walk) {
    let length = walk.path.len();
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                if length > 0 {
                    walk.path.push('.');
                }
                walk.path.push_str(key);
                match expect.field(key) {
                    Some(below) => scan(inner, below, walk),
                    None => {
                        let path = walk.path.clone();
                        walk.report("unknown", &path);
                    }
                }
                walk.path.truncate(length);
            }
        }
        Value::Array(items) => {
            let Expect::Shape(Shape::List(inner)) = expect else { return };
            for (index, item) in items.iter().enumerate() {
                walk.path.push_str(&format!("[{index}]"));
                scan(item, Expect::Shape(inner), walk);
                walk.path.truncate(length);
            }
        }
        _ => {}
    }
}

struct Walk {
    path: String,
    depth: usize,
    issues: Vec<String>,
}

impl Walk {
    fn report(&mut self, what: &str, path: &str) {
        if self.issues.len() < ISSUES_MAX {
            let sentence = format!("{what} field {}", quote(path));
            if !self.issues.contains(&sentence) {
                self.issues.push(sentence);
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Expect {
    Anything,
    Object(&'static Type),
    Shape(&'static Shape),
}

struct Seed<'a> {
    walk: &'a mut Walk,
    expect: Expect,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let Seed { walk, expect } = self;
        enter(walk)?;
        let inner = match expect {
            Expect::Shape(Shape::List(inner)) => Expect::Shape(inner),
            _ => Expect::Anything,
        };
        let length = walk.path.len();
        let mut out = Vec::new();
        loop {
            walk.path.push_str(&format!("[{}]", out.len()));
            let item = items.next_element_seed(Seed { walk: &mut *walk, expect: inner })?;
            walk.path.truncate(length);
            match item {
                Some(item) => out.push(item),
                None => break,
            }
        }
        walk.depth -= 1;
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let Seed { walk, expect } = self;
        enter(walk)?;
        let length = walk.path.len();
        let mut out = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if length > 0 {
                walk.path.push('.');
            }
            walk.path.push_str(&key);
            let path = walk.path.clone();
            let inner = expect.field(&key).unwrap_or_else(|| {
                walk.report("unknown", &path);
                Expect::Anything
            });
            if out.contains_key(&key) {
                walk.report("duplicate", &path);
            }
            let value = entries.next_value_seed(Seed { walk: &mut *walk, expect: inner })?;
            walk.path.truncate(length);
            out.insert(key, value);
        }
        walk.depth -= 1;
        Ok(Value::Object(out))
    }
}

fn enter<E: de::Error>(walk: &mut Walk) -> Result<(), E> {
    walk.depth += 1;
    if walk.depth > DEPTH_MAX {
        return Err(E::custom("exceeded max depth"));
    }
    Ok(())
}

impl Expect {
    /// What a key leads to; `None` when the type has no such field.
    fn field(self, key: &str) -> Option<Expect> {
        let kind = match self {
            Expect::Object(kind) => kind,
            Expect::Shape(Shape::Object(kind) | Shape::OrBool(kind) | Shape::OrList(kind)) => *kind,
            Expect::Shape(Shape::Map(inner)) => return Some(Expect::Shape(inner)),
            _ => return Some(Expect::Anything),
        };
        match kind.field(key) {
            Some(field) => Some(Expect::Shape(&field.shape)),
            None if kind.root && matches!(key, "apiVersion" | "kind") => Some(Expect::Anything),
            None => None,
        }
    }
}

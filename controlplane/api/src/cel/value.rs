//! Values of expressions. Objects that are asked about are borrowed, never copied.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::{Budget, EvalError};
use crate::quantity::Quantity;
use crate::structural::{Additional, Structural};

/// A value.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
    List(Arc<Vec<Value<'a>>>),
    Map(Arc<Vec<(Value<'a>, Value<'a>)>>),
    /// A list of the object, with the schema of its items.
    Items(&'a [Json], Option<&'a Structural>),
    /// An object or map of the object, with its schema.
    Fields(&'a Map<String, Json>, Option<&'a Structural>),
    Timestamp(jiff::Timestamp),
    /// Nanoseconds.
    Duration(i128),
    /// The name of a type.
    Type(&'static str),
    Optional(Option<Arc<Value<'a>>>),
    Quantity(Arc<Quantity>),
    Url(Arc<super::functions::Url>),
    Ip(IpAddr),
    Cidr(IpAddr, u8),
    Semver(Arc<super::functions::Semver>),
    Format(&'static str),
    /// Something that only functions look into.
    Opaque(Arc<dyn super::Opaque>),
}

impl<'a> Value<'a> {
    /// A value of the object, as its schema understands it.
    pub fn of(json: &'a Json, schema: Option<&'a Structural>) -> Value<'a> {
        match json {
            Json::Null => Value::Null,
            Json::Bool(flag) => Value::Bool(*flag),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) if schema.is_none_or(|schema| schema.of != "number") => Value::Int(whole),
                (_, Some(double)) => Value::Double(double),
                _ => Value::Int(0),
            },
            Json::String(text) => formatted(text, schema),
            Json::Array(items) => Value::Items(items, schema.and_then(|schema| schema.items.as_deref())),
            Json::Object(fields) => Value::Fields(fields, schema),
        }
    }

    /// A value that was made elsewhere.
    pub fn owned(json: &Json) -> Value<'static> {
        match json {
            Json::Null => Value::Null,
            Json::Bool(flag) => Value::Bool(*flag),
            Json::Number(number) => {
                number.as_i64().map_or_else(|| Value::Double(number.as_f64().unwrap_or_default()), Value::Int)
            }
            Json::String(text) => Value::Text(text.as_str().into()),
            Json::Array(items) => Value::List(Arc::new(items.iter().map(Value::owned).collect())),
            Json::Object(fields) => {
                let entry = |(name, value): (&String, &Json)| {
                    (Value::Text(name.as_str().into()), Value::owned(value))
                };
                Value::Map(Arc::new(fields.iter().map(entry).collect()))
            }
        }
    }

    pub fn text(text: &str) -> Value<'static> {
        Value::Text(text.into())
    }

    /// The name of its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::Text(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::List(_) | Value::Items(..) => "list",
            Value::Map(_) | Value::Fields(..) => "map",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::Type(_) => "type",
            Value::Optional(_) => "optional_type",
            Value::Quantity(_) => "kubernetes.Quantity",
            Value::Url(_) => "kubernetes.URL",
            Value::Ip(_) => "net.IP",
            Value::Cidr(..) => "net.CIDR",
            Value::Semver(_) => "kubernetes.Semver",
            Value::Format(_) => "kubernetes.NamedFormat",
            Value::Opaque(opaque) => opaque.type_name(),
        }
    }

    /// How many parts it has: what costs are counted by.
    pub fn size(&self) -> usize {
        match self {
            Value::Text(text) => text.chars().count(),
            Value::Bytes(bytes) => bytes.len(),
            Value::List(items) => items.len(),
            Value::Map(entries) => entries.len(),
            Value::Items(items, _) => items.len(),
            Value::Fields(fields, _) => fields.len(),
            _ => 1,
        }
    }

    /// The items of a list.
    pub fn items(&self) -> Option<Vec<Value<'a>>> {
        match self {
            Value::List(items) => Some(items.to_vec()),
            Value::Items(items, schema) => Some(items.iter().map(|item| Value::of(item, *schema)).collect()),
            _ => None,
        }
    }

    /// The entries of a map or object.
    pub fn entries(&self) -> Option<Vec<(Value<'a>, Value<'a>)>> {
        match self {
            Value::Map(entries) => Some(entries.to_vec()),
            Value::Fields(fields, schema) => Some(
                fields
                    .iter()
                    .map(|(name, value)| (Value::text(name), Value::of(value, field_schema(*schema, name))))
                    .collect(),
            ),
            _ => None,
        }
    }

    /// The items of a list with their places, or the entries of a map or object, one after the other.
    pub fn parts(&self) -> Box<dyn Iterator<Item = (Value<'a>, Value<'a>)> + '_> {
        let at = |at: usize| Value::Int(i64::try_from(at).unwrap_or(i64::MAX));
        match self {
            Value::List(items) => {
                Box::new(items.iter().enumerate().map(move |(place, item)| (at(place), item.clone())))
            }
            Value::Items(items, schema) => {
                let items = items.iter().enumerate();
                Box::new(items.map(move |(place, item)| (at(place), Value::of(item, *schema))))
            }
            Value::Map(entries) => Box::new(entries.iter().cloned()),
            Value::Fields(fields, schema) => Box::new(
                fields
                    .iter()
                    .map(|(name, value)| (Value::text(name), Value::of(value, field_schema(*schema, name)))),
            ),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// The value at a key, as it is: nothing is escaped. Of a map that was made here every entry before it is paid for.
    pub(super) fn at(&self, key: &Value<'_>, budget: &mut Budget) -> Result<Option<Value<'a>>, EvalError> {
        match (self, key) {
            (Value::Fields(fields, schema), Value::Text(name)) => {
                Ok(fields.get(&**name).map(|value| Value::of(value, field_schema(*schema, name))))
            }
            (Value::Map(entries), key) => {
                for (known, value) in entries.iter() {
                    if equal(known, key, budget)? {
                        return Ok(Some(value.clone()));
                    }
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// A field or the value at a key; none where there is nothing.
    pub fn field(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Value::Fields(fields, schema) => {
                let name = if schema.is_some() { unescaped(name) } else { name.to_owned() };
                let value = fields.get(&name)?;
                Some(Value::of(value, field_schema(*schema, &name)))
            }
            Value::Map(entries) => {
                let at = entries.iter().find(|(key, _)| matches!(key, Value::Text(text) if **text == *name));
                at.map(|(_, value)| value.clone())
            }
            _ => None,
        }
    }

    /// What JSON makes of it.
    pub fn to_json(&self) -> Option<Json> {
        Some(match self {
            Value::Null => Json::Null,
            Value::Bool(flag) => (*flag).into(),
            Value::Int(number) => (*number).into(),
            Value::Uint(number) => (*number).into(),
            Value::Double(number) => (*number).into(),
            Value::Text(text) => text.to_string().into(),
            Value::Items(..) | Value::List(_) => {
                Json::Array(self.items()?.iter().map(Value::to_json).collect::<Option<_>>()?)
            }
            Value::Fields(fields, _) => Json::Object((*fields).clone()),
            Value::Map(entries) => {
                let entry = |(key, value): &(Value<'_>, Value<'_>)| Some((shown(key)?, value.to_json()?));
                Json::Object(entries.iter().map(entry).collect::<Option<_>>()?)
            }
            Value::Timestamp(_) | Value::Duration(_) | Value::Bytes(_) => shown(self)?.into(),
            Value::Optional(Some(inner)) => inner.to_json()?,
            Value::Opaque(opaque) => opaque.to_json()?,
            _ => return None,
        })
    }
}

/// What `string()` makes of a value.
pub(super) fn shown(value: &Value<'_>) -> Option<String> {
    Some(match value {
        Value::Text(text) => text.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Bytes(bytes) => String::from_utf8(bytes.to_vec()).ok()?,
        Value::Timestamp(time) => time.to_string(),
        Value::Duration(nanos) => {
            let (whole, part) = (nanos / 1_000_000_000, (nanos % 1_000_000_000).abs());
            if part == 0 {
                format!("{whole}s")
            } else {
                let sign = if *nanos < 0 && whole == 0 { "-" } else { "" };
                format!("{sign}{whole}.{}s", format!("{part:09}").trim_end_matches('0'))
            }
        }
        Value::Ip(address) => address.to_string(),
        Value::Cidr(address, length) => format!("{address}/{length}"),
        _ => return None,
    })
}

fn formatted<'a>(text: &'a str, schema: Option<&Structural>) -> Value<'a> {
    let format = schema.and_then(|schema| schema.checks.as_ref()).map_or("", |checks| checks.format.as_str());
    match format {
        "date-time" => text.parse().map_or_else(|_| Value::text(text), Value::Timestamp),
        "date" => match format!("{text}T00:00:00Z").parse() {
            Ok(time) => Value::Timestamp(time),
            Err(_) => Value::text(text),
        },
        "duration" => super::functions::duration(text).map_or_else(|| Value::text(text), Value::Duration),
        "byte" => {
            use base64::Engine as _;
            match base64::engine::general_purpose::STANDARD.decode(text) {
                Ok(bytes) => Value::Bytes(bytes.into()),
                Err(_) => Value::text(text),
            }
        }
        _ => Value::text(text),
    }
}

fn field_schema<'a>(schema: Option<&'a Structural>, name: &str) -> Option<&'a Structural> {
    let schema = schema?;
    schema.properties.get(name).or(match &schema.additional {
        Additional::Each(each) => Some(each),
        _ => None,
    })
}

/// `__dot__` and its like as the property is really called.
pub(super) fn unescaped(name: &str) -> String {
    if !name.contains("__") {
        return name.to_owned();
    }
    if let Some(keyword) = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"))
        && !keyword.is_empty()
        && keyword.chars().all(|c| c.is_ascii_lowercase())
        && !matches!(keyword, "dot" | "dash" | "slash" | "underscores")
    {
        return keyword.to_owned();
    }
    name.replace("__dot__", ".")
        .replace("__dash__", "-")
        .replace("__slash__", "/")
        .replace("__underscores__", "__")
}

/// Whether two values are the same; numbers compare by what they are worth. Every part that is looked at is paid for: parts may
/// be shared, so that there are many more of them than there is memory.
pub(super) fn equal(a: &Value<'_>, b: &Value<'_>, budget: &mut Budget) -> Result<bool, EvalError> {
    budget.spend_small(1)?;
    match (a, b) {
        (Value::List(_) | Value::Items(..), Value::List(_) | Value::Items(..)) => {
            if a.size() != b.size() {
                return Ok(false);
            }
            for (a, b) in a.parts().zip(b.parts()) {
                if !equal(&a.1, &b.1, budget)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Map(_) | Value::Fields(..), Value::Map(_) | Value::Fields(..)) => {
            if a.size() != b.size() {
                return Ok(false);
            }
            for (key, value) in a.parts() {
                match b.at(&key, budget)? {
                    Some(other) if equal(&value, &other, budget)? => {}
                    _ => return Ok(false),
                }
            }
            Ok(true)
        }
        (Value::Optional(Some(a)), Value::Optional(Some(b))) => equal(a, b, budget),
        _ => Ok(same(a, b)),
    }
}

/// [`equal`] of what has no parts.
fn same(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Type(a), Value::Type(b)) => a == b,
        (Value::Ip(a), Value::Ip(b)) => a == b,
        (Value::Cidr(a, n), Value::Cidr(b, m)) => a == b && n == m,
        (Value::Quantity(a), Value::Quantity(b)) => a.cmp(b).is_eq(),
        (Value::Semver(a), Value::Semver(b)) => a.cmp(b).is_eq(),
        (Value::Url(a), Value::Url(b)) => a.text == b.text,
        (Value::Format(a), Value::Format(b)) => a == b,
        (Value::Optional(a), Value::Optional(b)) => a.is_none() && b.is_none(),
        _ => super::functions::order(a, b).is_some_and(std::cmp::Ordering::is_eq),
    }
}

/// A map by texts, for results that are made here.
pub(super) fn map<'a>(entries: BTreeMap<String, Value<'a>>) -> Value<'a> {
    Value::Map(Arc::new(entries.into_iter().map(|(key, value)| (Value::text(&key), value)).collect()))
}

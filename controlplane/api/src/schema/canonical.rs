//! Brings a value into the one form a type has: checked types, no nulls, no empty optional fields, fields in order.
//!
//! This is what decoding into Go structs and encoding again does upstream, so objects from JSON, YAML and protobuf
//! bodies end up equal. Not defaulting: only Go's zero values appear here, and unknown fields go.
//!
//! Invariant: `canonical(canonical(x)) == canonical(x)`.

use serde_json::{Map, Value};

use super::{Field, Shape, Type};
use crate::quantity::Quantity;
use crate::time;

/// A value of the wrong type, in the words of Go's JSON decoder.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct TypeError(pub String);

/// The canonical form of an object of a type. `apiVersion` and `kind` are kept in front where the type has them.
pub fn canonical(value: Value, kind: &'static Type) -> Result<Value, TypeError> {
    let mut walk = Walk { structs: vec![], path: vec![] };
    walk.object(value, kind)
}

struct Walk {
    structs: Vec<&'static str>,
    path: Vec<&'static str>,
}

impl Walk {
    fn object(&mut self, value: Value, kind: &'static Type) -> Result<Value, TypeError> {
        let mut from = match value {
            Value::Object(map) => map,
            Value::Null => Map::new(),
            other => return Err(self.mismatch(&other, &format!("v1.{}", kind.short_name()))),
        };
        let mut out = Map::with_capacity(from.len());
        if kind.root {
            // As Go writes TypeMeta: kind first.
            for name in ["kind", "apiVersion"] {
                match from.remove(name) {
                    Some(Value::String(text)) if !text.is_empty() => {
                        out.insert(name.to_owned(), Value::String(text));
                    }
                    None | Some(Value::Null | Value::String(_)) => {}
                    Some(other) => return Err(self.mismatch(&other, "string")),
                }
            }
        }
        self.structs.push(kind.short_name());
        self.fields(&mut from, kind, &mut out)?;
        self.structs.pop();
        Ok(Value::Object(out))
    }

    fn fields(
        &mut self,
        from: &mut Map<String, Value>,
        kind: &'static Type,
        out: &mut Map<String, Value>,
    ) -> Result<(), TypeError> {
        for field in kind.fields {
            if let Some(part) = field.inline() {
                self.fields(from, part, out)?;
                continue;
            }
            self.path.push(field.name);
            let value = match from.swap_remove(field.name) {
                None | Some(Value::Null) => self.absent(field)?,
                Some(value) => self.present(value, field)?,
            };
            self.path.pop();
            if let Some(value) = value {
                out.insert(field.name.to_owned(), value);
            }
        }
        Ok(())
    }

    /// What Go writes for a field that was not there.
    fn absent(&mut self, field: &'static Field) -> Result<Option<Value>, TypeError> {
        if field.pointer {
            return Ok(field.always.then_some(Value::Null));
        }
        Ok(match field.shape {
            Shape::Object(kind) => Some(self.object(Value::Null, kind)?),
            Shape::Time | Shape::MicroTime if !field.omit_zero => Some(Value::Null),
            Shape::Quantity => Some("0".into()),
            _ if field.always => Some(zero(&field.shape)),
            _ => None,
        })
    }

    fn present(&mut self, value: Value, field: &'static Field) -> Result<Option<Value>, TypeError> {
        let value = self.shaped(value, &field.shape)?;
        let drop = !field.pointer && !field.always && is_zero(&value, &field.shape);
        Ok((!drop).then_some(value))
    }

    fn shaped(&mut self, value: Value, shape: &'static Shape) -> Result<Value, TypeError> {
        match (shape, value) {
            (Shape::Object(kind), value) => self.object(value, kind),
            (Shape::OrBool(_), value @ Value::Bool(_)) => Ok(value),
            (Shape::OrList(kind), Value::Array(items)) => {
                items.into_iter().map(|item| self.object(item, kind)).collect()
            }
            (Shape::OrBool(kind) | Shape::OrList(kind), value @ Value::Object(_)) => self.object(value, kind),
            (shape, Value::Null) => Ok(zero(shape)),
            (Shape::Str | Shape::Enum(_), value @ Value::String(_))
            | (Shape::Bool, value @ Value::Bool(_)) => Ok(value),
            (Shape::I32, Value::Number(number))
                if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) =>
            {
                Ok(Value::Number(number))
            }
            (Shape::I64, Value::Number(number)) if number.is_i64() => Ok(Value::Number(number)),
            (Shape::F64, value @ Value::Number(_)) => Ok(value),
            (Shape::IntOrString, value @ Value::String(_)) => Ok(value),
            (Shape::IntOrString, Value::Number(number))
                if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) =>
            {
                Ok(Value::Number(number))
            }
            (Shape::List(inner), Value::Array(items)) => {
                items.into_iter().map(|item| self.shaped(item, inner)).collect()
            }
            (Shape::Strings, Value::Array(items)) => {
                items.into_iter().map(|item| self.shaped(item, &Shape::Str)).collect()
            }
            (Shape::Map(inner), Value::Object(map)) => {
                let entries = map.into_iter().map(|(key, item)| Ok((key, self.shaped(item, inner)?)));
                Ok(Value::Object(entries.collect::<Result<_, _>>()?))
            }
            (Shape::Quantity, value @ (Value::String(_) | Value::Number(_))) => quantity(&value),
            (Shape::Time, Value::String(text)) => time::seconds(&text).map(Value::String).map_err(TypeError),
            (Shape::MicroTime, Value::String(text)) => {
                time::micros(&text).map(Value::String).map_err(TypeError)
            }
            (Shape::Bytes, Value::String(text)) => bytes(text),
            (Shape::Raw, value) | (Shape::FieldsV1, value @ Value::Object(_)) => Ok(value),
            (shape, value) => Err(self.mismatch(&value, &go_type(shape))),
        }
    }

    fn mismatch(&self, value: &Value, wanted: &str) -> TypeError {
        let got = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(number) if wanted.starts_with("int") => format!("number {number}"),
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        TypeError(match self.structs.last() {
            None => format!("json: cannot unmarshal {got} into Go value of type {wanted}"),
            Some(name) => {
                format!(
                    "json: cannot unmarshal {got} into Go struct field {name}.{} of type {wanted}",
                    self.path.join(".")
                )
            }
        })
    }
}

fn quantity(value: &Value) -> Result<Value, TypeError> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Quantity::canonical(&text).map(Value::String).map_err(|error| TypeError(error.to_string()))
}

fn bytes(text: String) -> Result<Value, TypeError> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    match STANDARD.decode(&text) {
        Ok(_) => Ok(Value::String(text)),
        Err(_) => {
            // Go's decoder skips line breaks.
            let joined: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
            match STANDARD.decode(&joined) {
                Ok(_) => Ok(Value::String(joined)),
                Err(
                    base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _),
                ) => Err(TypeError(format!("illegal base64 data at input byte {at}"))),
                Err(_) => {
                    Err(TypeError(format!("illegal base64 data at input byte {}", joined.len() / 4 * 4)))
                }
            }
        }
    }
}

/// Go's zero value as JSON.
fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::Str | Shape::Enum(_) => "".into(),
        Shape::Bool => false.into(),
        Shape::I32 | Shape::I64 | Shape::F64 | Shape::IntOrString => 0.into(),
        Shape::Quantity => "0".into(),
        Shape::Object(_) => Value::Object(Map::new()),
        _ => Value::Null,
    }
}

fn is_zero(value: &Value, shape: &Shape) -> bool {
    match (shape, value) {
        (Shape::Object(_) | Shape::Quantity, _) => false,
        (Shape::IntOrString, Value::String(_)) => false,
        (_, Value::Null) => true,
        (_, Value::String(text)) => text.is_empty(),
        (_, Value::Bool(flag)) => !flag,
        (_, Value::Number(number)) => number.as_f64() == Some(0.0),
        (Shape::Raw, _) => false,
        (_, Value::Array(items)) => items.is_empty(),
        (_, Value::Object(map)) => map.is_empty(),
    }
}

fn go_type(shape: &Shape) -> String {
    match shape {
        Shape::Str | Shape::Enum(_) => "string".into(),
        Shape::Bool => "bool".into(),
        Shape::I32 | Shape::IntOrString => "int32".into(),
        Shape::I64 => "int64".into(),
        Shape::F64 => "float64".into(),
        Shape::Bytes => "[]uint8".into(),
        Shape::Time => "v1.Time".into(),
        Shape::MicroTime => "v1.MicroTime".into(),
        Shape::Quantity => "resource.Quantity".into(),
        Shape::Raw => "runtime.RawExtension".into(),
        Shape::FieldsV1 => "v1.FieldsV1".into(),
        Shape::Strings => "v1.ExtraValue".into(),
        Shape::List(inner) => format!("[]{}", go_type(inner)),
        Shape::Map(inner) => format!("map[string]{}", go_type(inner)),
        Shape::Object(kind) => format!("v1.{}", kind.short_name()),
        Shape::OrBool(_) => "v1.JSONSchemaPropsOrBool".into(),
        Shape::OrList(_) => "v1.JSONSchemaPropsOrArray".into(),
    }
}

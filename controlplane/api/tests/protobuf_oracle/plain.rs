//! The encoder as one would write it first: values, not text, one field after the other. What the other is compared with.

use base64::Engine as _;
use serde_json::{Map, Value};

use keelson_api::schema::{Field, Shape, Type};
use keelson_api::time;
use keelson_api::wire::protobuf::{ProtobufError, Writer};

/// The bare message of a value.
pub fn encode_value(value: &Value, kind: &'static Type) -> Result<Vec<u8>, ProtobufError> {
    let mut out = Writer::default();
    object(value.as_object().unwrap_or(no_fields()), kind, &mut out)?;
    Ok(out.into_bytes())
}

fn object(fields: &Map<String, Value>, kind: &'static Type, out: &mut Writer) -> Result<(), ProtobufError> {
    let mut by_number: Vec<&'static Field> = kind.fields.iter().collect();
    by_number.sort_by_key(|field| field.number);
    for field in by_number {
        if let Some(part) = field.inline() {
            out.message(field.number, |inner| object(fields, part, inner))?;
            continue;
        }
        match fields.get(field.name) {
            None | Some(Value::Null) => absent(field, out)?,
            Some(value) => present(value, field, out)?,
        }
    }
    Ok(())
}

/// Go has no unset value for fields that are no pointers, so it writes their zero.
fn absent(field: &'static Field, out: &mut Writer) -> Result<(), ProtobufError> {
    if field.pointer {
        return Ok(());
    }
    match field.shape {
        Shape::Object(kind) => out.message(field.number, |inner| object(no_fields(), kind, inner)),
        Shape::Str | Shape::Enum(_) | Shape::Time | Shape::MicroTime => {
            out.bytes(field.number, &[]);
            Ok(())
        }
        Shape::Bool | Shape::I32 | Shape::I64 => {
            out.integer(field.number, 0);
            Ok(())
        }
        Shape::IntOrString => one(&Value::from(0), &field.shape, field.number, out),
        Shape::Quantity => one(&Value::from("0"), &field.shape, field.number, out),
        _ => Ok(()),
    }
}

fn present(value: &Value, field: &'static Field, out: &mut Writer) -> Result<(), ProtobufError> {
    match (&field.shape, value) {
        (Shape::List(inner), Value::Array(items)) => {
            items.iter().try_for_each(|item| one(item, inner, field.number, out))
        }
        (Shape::Map(inner), Value::Object(map)) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            for (key, item) in entries {
                out.message(field.number, |entry| {
                    entry.string(1, key);
                    one(item, inner, 2, entry)
                })?;
            }
            Ok(())
        }
        (shape, value) => one(value, shape, field.number, out),
    }
}

fn one(value: &Value, shape: &'static Shape, number: u32, out: &mut Writer) -> Result<(), ProtobufError> {
    match (shape, value) {
        (Shape::Str | Shape::Enum(_), Value::String(text)) => out.string(number, text),
        (Shape::Bool, Value::Bool(flag)) => out.integer(number, (*flag).into()),
        (Shape::I32 | Shape::I64, Value::Number(value)) => {
            let value =
                value.as_i64().ok_or_else(|| ProtobufError::Value(format!("{value} is no integer")))?;
            out.integer(number, value);
        }
        (Shape::F64, Value::Number(value)) => out.double(number, value.as_f64().unwrap_or_default()),
        (Shape::Bytes, Value::String(text)) => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text);
            out.bytes(number, &bytes.map_err(|error| ProtobufError::Value(error.to_string()))?);
        }
        (Shape::Bytes, Value::Null) => out.bytes(number, &[]),
        (Shape::Quantity, Value::String(text)) => string_message(number, text, out),
        (Shape::Time | Shape::MicroTime, Value::Null) => out.bytes(number, &[]),
        (Shape::Time | Shape::MicroTime, Value::String(text)) => {
            let (seconds, nanos) =
                time::parts(text).ok_or_else(|| ProtobufError::Value(format!("{text} is no time")))?;
            let mut inner = Writer::default();
            inner.integer(1, seconds);
            inner.integer(2, nanos.into());
            out.bytes(number, &inner.into_bytes());
        }
        (Shape::IntOrString, value) => int_or_string(number, value, out),
        (Shape::Raw | Shape::FieldsV1, value) => {
            let mut inner = Writer::default();
            if !value.is_null() {
                inner.bytes(1, value.to_string().as_bytes());
            }
            out.bytes(number, &inner.into_bytes());
        }
        (Shape::Strings, Value::Array(items)) => {
            let mut inner = Writer::default();
            items.iter().filter_map(Value::as_str).for_each(|text| inner.string(1, text));
            out.bytes(number, &inner.into_bytes());
        }
        (Shape::Strings, Value::Null) => out.bytes(number, &[]),
        (Shape::Object(kind), Value::Object(fields)) => {
            return out.message(number, |inner| object(fields, kind, inner));
        }
        (Shape::OrBool(_), Value::Bool(allows)) => {
            return out.message(number, |inner| {
                inner.integer(1, (*allows).into());
                Ok(())
            });
        }
        (Shape::OrBool(kind), Value::Object(fields)) => {
            return out.message(number, |inner| {
                inner.integer(1, 1);
                inner.message(2, |schema| object(fields, kind, schema))
            });
        }
        (Shape::OrList(kind), Value::Object(fields)) => {
            return out.message(number, |inner| inner.message(1, |schema| object(fields, kind, schema)));
        }
        (Shape::OrList(kind), Value::Array(items)) => {
            return out.message(number, |inner| {
                let mut fields = items.iter().map(|item| item.as_object().unwrap_or(no_fields()));
                fields.try_for_each(|fields| inner.message(2, |schema| object(fields, kind, schema)))
            });
        }
        (Shape::Object(kind), Value::Null) => {
            return out.message(number, |inner| object(no_fields(), kind, inner));
        }
        (shape, value) => return Err(ProtobufError::Value(format!("{value} is no {shape:?}"))),
    }
    Ok(())
}

fn string_message(number: u32, text: &str, out: &mut Writer) {
    let mut inner = Writer::default();
    inner.string(1, text);
    out.bytes(number, &inner.into_bytes());
}

fn int_or_string(number: u32, value: &Value, out: &mut Writer) {
    let mut inner = Writer::default();
    inner.integer(1, value.is_string().into());
    inner.integer(2, value.as_i64().unwrap_or_default());
    inner.string(3, value.as_str().unwrap_or_default());
    out.bytes(number, &inner.into_bytes());
}

fn no_fields() -> &'static Map<String, Value> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    &NONE
}

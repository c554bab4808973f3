//! Messages to JSON values. The result is not canonical yet: `schema::canonical` follows.

use serde_json::{Map, Number, Value};

use super::ProtobufError;
use super::read::{FIXED64, LENGTH, Raw, Reader, VARINT};
use crate::schema::{DEPTH_MAX, Field, Shape, Type, depth};
use crate::time;

/// Reads a message of a type.
pub fn decode(message: &[u8], kind: &'static Type) -> Result<Value, ProtobufError> {
    let mut out = Map::new();
    let mut walk = Walk { path: String::new(), depth: 0 };
    walk.object(message, kind, &mut out)?;
    let value = Value::Object(out);
    // Maps, lists and JSON within a message are deeper than messages alone.
    if depth(&value) > DEPTH_MAX {
        return Err(ProtobufError::Depth);
    }
    Ok(value)
}

struct Walk {
    path: String,
    depth: usize,
}

impl Walk {
    fn object(
        &mut self,
        message: &[u8],
        kind: &'static Type,
        out: &mut Map<String, Value>,
    ) -> Result<(), ProtobufError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(ProtobufError::Depth);
        }
        let mut reader = Reader::new(message);
        while let Some(raw) = reader.next_field()? {
            let Some(field) = kind.numbered(raw.number) else {
                let path =
                    if self.path.is_empty() { kind.short_name().to_owned() } else { self.path.clone() };
                return Err(ProtobufError::UnknownField { path, number: raw.number });
            };
            if let Some(part) = field.inline() {
                self.expect(&raw, LENGTH)?;
                self.object(raw.bytes, part, out)?;
                continue;
            }
            let length = self.path.len();
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(field.name);
            self.field(&raw, field, out)?;
            self.path.truncate(length);
        }
        self.depth -= 1;
        Ok(())
    }

    fn field(
        &mut self,
        raw: &Raw<'_>,
        field: &'static Field,
        out: &mut Map<String, Value>,
    ) -> Result<(), ProtobufError> {
        match &field.shape {
            Shape::List(inner) => {
                let slot = out.entry(field.name).or_insert_with(|| Value::Array(vec![]));
                if let Value::Array(items) = slot {
                    if raw.wire_type == LENGTH && matches!(inner, Shape::I32 | Shape::I64 | Shape::Bool) {
                        let mut packed = Reader::new(raw.bytes);
                        while !packed.is_empty() {
                            let scalar = packed.varint()?;
                            items.push(self.value(&Raw { wire_type: VARINT, scalar, ..*raw }, inner)?);
                        }
                    } else {
                        items.push(self.value(raw, inner)?);
                    }
                }
            }
            Shape::Map(inner) => {
                let (key, value) = self.entry(raw, inner)?;
                let slot = out.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(map) = slot {
                    map.insert(key, value);
                }
            }
            // A message that comes in pieces is merged; nobody sends that, but the format allows it.
            Shape::Object(kind) if out.get(field.name).is_some_and(Value::is_object) => {
                self.expect(raw, LENGTH)?;
                if let Some(Value::Object(map)) = out.get_mut(field.name) {
                    let mut known = std::mem::take(map);
                    self.object(raw.bytes, kind, &mut known)?;
                    out.insert(field.name.to_owned(), Value::Object(known));
                }
            }
            shape => {
                let value = self.value(raw, shape)?;
                out.insert(field.name.to_owned(), value);
            }
        }
        Ok(())
    }

    fn entry(&mut self, raw: &Raw<'_>, inner: &'static Shape) -> Result<(String, Value), ProtobufError> {
        self.expect(raw, LENGTH)?;
        let mut key = String::new();
        let mut value = None;
        let mut reader = Reader::new(raw.bytes);
        while let Some(part) = reader.next_field()? {
            match part.number {
                1 => key = self.text(&part)?,
                2 => value = Some(self.value(&part, inner)?),
                number => return Err(ProtobufError::UnknownField { path: self.path.clone(), number }),
            }
        }
        let empty = Raw { number: 2, wire_type: LENGTH, scalar: 0, bytes: &[] };
        Ok((key, value.map_or_else(|| self.value(&empty, inner), Ok)?))
    }

    fn value(&mut self, raw: &Raw<'_>, shape: &'static Shape) -> Result<Value, ProtobufError> {
        match shape {
            Shape::Bool | Shape::I32 | Shape::I64 => self.expect(raw, VARINT)?,
            Shape::F64 => self.expect(raw, FIXED64)?,
            _ => self.expect(raw, LENGTH)?,
        }
        Ok(match shape {
            Shape::Bool => (raw.scalar != 0).into(),
            Shape::I32 => (raw.scalar as i32).into(),
            Shape::I64 => (raw.scalar as i64).into(),
            Shape::F64 => Number::from_f64(f64::from_bits(raw.scalar)).map_or(Value::Null, Value::Number),
            Shape::Str | Shape::Enum(_) => self.text(raw)?.into(),
            Shape::Bytes => base64(raw.bytes).into(),
            Shape::Quantity => self.one_string(raw)?.into(),
            Shape::Time | Shape::MicroTime => self.time(raw, shape)?,
            Shape::IntOrString => self.int_or_string(raw)?,
            Shape::Raw | Shape::FieldsV1 => self.json(raw)?,
            Shape::Strings => self.strings(raw)?,
            Shape::Object(kind) => self.message(raw, kind)?,
            Shape::OrBool(kind) | Shape::OrList(kind) => self.alternative(raw, kind, shape)?,
            Shape::List(_) | Shape::Map(_) => {
                return Err(ProtobufError::Value("nested lists do not exist".into()));
            }
        })
    }

    fn message(&mut self, raw: &Raw<'_>, kind: &'static Type) -> Result<Value, ProtobufError> {
        self.expect(raw, LENGTH)?;
        let mut out = Map::new();
        self.object(raw.bytes, kind, &mut out)?;
        Ok(Value::Object(out))
    }

    /// A message of two: what stands for a boolean or a list, and an object.
    fn alternative(
        &mut self,
        raw: &Raw<'_>,
        kind: &'static Type,
        shape: &Shape,
    ) -> Result<Value, ProtobufError> {
        let (mut allows, mut one, mut many) = (false, None, Vec::new());
        let mut reader = Reader::new(raw.bytes);
        while let Some(part) = reader.next_field()? {
            let is_list = matches!(shape, Shape::OrList(_));
            match (part.number, is_list) {
                (1, false) => allows = part.scalar != 0,
                (1, true) | (2, false) => one = Some(self.message(&part, kind)?),
                (2, true) => many.push(self.message(&part, kind)?),
                _ => self.known(&part, 1..=2)?,
            }
        }
        Ok(match (one, shape) {
            (Some(object), _) => object,
            (None, Shape::OrBool(_)) => allows.into(),
            (None, _) => Value::Array(many),
        })
    }

    fn one_string(&self, raw: &Raw<'_>) -> Result<String, ProtobufError> {
        let mut out = String::new();
        let mut reader = Reader::new(raw.bytes);
        while let Some(part) = reader.next_field()? {
            self.known(&part, 1..=1)?;
            out = self.text(&part)?;
        }
        // A quantity that was never set.
        Ok(if out.is_empty() { "0".into() } else { out })
    }

    fn strings(&self, raw: &Raw<'_>) -> Result<Value, ProtobufError> {
        let mut out = Vec::new();
        let mut reader = Reader::new(raw.bytes);
        while let Some(part) = reader.next_field()? {
            self.known(&part, 1..=1)?;
            out.push(self.text(&part)?.into());
        }
        Ok(Value::Array(out))
    }

    fn time(&self, raw: &Raw<'_>, shape: &Shape) -> Result<Value, ProtobufError> {
        if raw.bytes.is_empty() {
            return Ok(Value::Null);
        }
        let (mut seconds, mut nanos) = (0i64, 0i32);
        let mut reader = Reader::new(raw.bytes);
        while let Some(part) = reader.next_field()? {
            self.known(&part, 1..=2)?;
            match part.number {
                1 => seconds = part.scalar as i64,
                _ => nanos = part.scalar as i32,
            }
        }
        let time = jiff::Timestamp::new(seconds, nanos)
            .map_err(|error| ProtobufError::Value(format!("{}: {error}", self.path)))?;
        Ok(match shape {
            Shape::MicroTime => time::format_micros(time),
            _ => time::format_seconds(time),
        }
        .into())
    }

    fn int_or_string(&self, raw: &Raw<'_>) -> Result<Value, ProtobufError> {
        let (mut is_text, mut number, mut text) = (false, 0i32, String::new());
        let mut reader = Reader::new(raw.bytes);
        while let Some(part) = reader.next_field()? {
            match part.number {
                1 => is_text = part.scalar == 1,
                2 => number = part.scalar as i32,
                3 => text = self.text(&part)?,
                _ => self.known(&part, 1..=3)?,
            }
        }
        Ok(if is_text { text.into() } else { number.into() })
    }

    fn json(&self, raw: &Raw<'_>) -> Result<Value, ProtobufError> {
        let mut out = Value::Null;
        let mut reader = Reader::new(raw.bytes);
        while let Some(part) = reader.next_field()? {
            self.known(&part, 1..=1)?;
            out = serde_json::from_slice(part.bytes)
                .map_err(|error| ProtobufError::Value(format!("{}: not JSON: {error}", self.path)))?;
        }
        Ok(out)
    }

    fn text(&self, raw: &Raw<'_>) -> Result<String, ProtobufError> {
        self.expect(raw, LENGTH)?;
        let text = std::str::from_utf8(raw.bytes).map_err(|_| ProtobufError::Utf8(self.path.clone()))?;
        Ok(text.to_owned())
    }

    fn expect(&self, raw: &Raw<'_>, wire_type: u8) -> Result<(), ProtobufError> {
        if raw.wire_type == wire_type {
            return Ok(());
        }
        Err(ProtobufError::FieldWireType { field: self.path.clone(), wire_type: raw.wire_type })
    }

    fn known(&self, raw: &Raw<'_>, numbers: std::ops::RangeInclusive<u32>) -> Result<(), ProtobufError> {
        if numbers.contains(&raw.number) {
            return Ok(());
        }
        Err(ProtobufError::UnknownField { path: self.path.clone(), number: raw.number })
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

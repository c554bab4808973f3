//! JSON in canonical form to messages: along the schema, from the text itself.
//!
//! ```text
//! text ─► tape ─► per message: which field stands where ─► fields in order of number, absent ones as Go's zeros
//! ```
//!
//! Values that were taken apart are written down first: the text is what the caches have, and what lists and watches are
//! made from. No value, no string and no message is allocated on the way.

use std::borrow::Cow;

use base64::Engine as _;
use serde_json::{Map, Value};

use super::tape::{Json, Node, Tape, Token};
use super::{ProtobufError, Writer, envelope};
use crate::schema::{self, Field, Shape, Type};
use crate::time;

const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const META: &str = "meta.k8s.io/v1";

/// An object with its `apiVersion` and `kind`, as a body.
pub fn encode(object: &Value, kind: &'static Type) -> Result<Vec<u8>, ProtobufError> {
    Encoder::default().body(object.to_string().as_bytes(), kind)
}

/// The bare message of a value.
pub fn encode_value(value: &Value, kind: &'static Type) -> Result<Vec<u8>, ProtobufError> {
    let mut encoder = Encoder::default();
    let mut out = Writer::default();
    encoder.read(value.to_string().as_bytes())?.object(0, kind, &mut out)?;
    Ok(out.into_bytes())
}

/// What stands before the items of a list's message: its `metadata`.
pub fn encode_list_metadata(metadata: &Map<String, Value>) -> Result<Vec<u8>, ProtobufError> {
    let text = serde_json::to_vec(metadata).map_err(|error| ProtobufError::Value(error.to_string()))?;
    let mut encoder = Encoder::default();
    let mut out = Writer::default();
    if let Some(meta) = schema::find(LIST_META) {
        let mut walk = encoder.read(&text)?;
        out.message(1, |out| walk.object(0, meta, out))?;
    }
    Ok(out.into_bytes())
}

/// Makes messages from the text of objects. It keeps what it works with from one to the next.
#[derive(Debug, Default)]
pub struct Encoder {
    tape: Tape,
    slots: Vec<u32>,
    entries: Vec<u32>,
}

impl Encoder {
    /// An object with its `apiVersion` and `kind`, as a body.
    pub fn body(&mut self, text: &[u8], kind: &'static Type) -> Result<Vec<u8>, ProtobufError> {
        let mut walk = self.read(text)?;
        let mut out = Writer::default();
        walk.object(0, kind, &mut out)?;
        Ok(envelope::seal(&walk.text("apiVersion")?, &walk.text("kind")?, &out.into_bytes()))
    }

    /// The metadata of an object alone, a `PartialObjectMetadata`, as a body.
    pub fn partial_body(&mut self, text: &[u8]) -> Result<Vec<u8>, ProtobufError> {
        let mut walk = self.read(text)?;
        let mut out = Writer::default();
        walk.metadata(&mut out)?;
        Ok(envelope::seal(META, "PartialObjectMetadata", &out.into_bytes()))
    }

    /// One of the items of a list's message.
    pub fn list_item(
        &mut self,
        text: &[u8],
        item: &'static Type,
        out: &mut Writer,
    ) -> Result<(), ProtobufError> {
        let mut walk = self.read(text)?;
        out.message(2, |out| walk.object(0, item, out))
    }

    /// The same for an item of which only the metadata is shown.
    pub fn partial_list_item(&mut self, text: &[u8], out: &mut Writer) -> Result<(), ProtobufError> {
        let mut walk = self.read(text)?;
        out.message(2, |out| walk.metadata(out))
    }

    fn read<'a>(&'a mut self, text: &'a [u8]) -> Result<Walk<'a>, ProtobufError> {
        self.slots.clear();
        self.entries.clear();
        Ok(Walk { json: self.tape.read(text)?, slots: &mut self.slots, entries: &mut self.entries })
    }
}

struct Walk<'a> {
    json: Json<'a>,
    /// Of the messages that are open: where the value of each field stands, 0 where there is none.
    slots: &'a mut Vec<u32>,
    /// Of the maps that are open: where their names stand.
    entries: &'a mut Vec<u32>,
}

impl<'a> Walk<'a> {
    /// The value of a field of the outermost object.
    fn member(&self, name: &str) -> Option<u32> {
        let mut members = self.members(0);
        members.find(|at| self.json.plain(self.json.node(*at)) == name).map(|at| at + 1)
    }

    /// Where the names of an object's fields stand; of anything else none.
    fn members(&self, at: u32) -> impl Iterator<Item = u32> + use<'a> {
        let (json, object) = (self.json, self.json.node(at));
        let mut next = at + 1;
        std::iter::from_fn(move || {
            let name = next;
            (object.token == Token::Object && name < object.next).then(|| {
                next = json.node(name + 1).next;
                name
            })
        })
    }

    fn text(&self, name: &str) -> Result<Cow<'a, str>, ProtobufError> {
        self.member(name).map_or(Ok("".into()), |at| self.json.string(self.json.node(at)))
    }

    fn metadata(&mut self, out: &mut Writer) -> Result<(), ProtobufError> {
        let kind = schema::object_meta();
        match self.member("metadata") {
            Some(at) => out.message(1, |out| self.object(at, kind, out)),
            None => out.message(1, |out| empty(kind, out)),
        }
    }

    fn object(&mut self, at: u32, kind: &'static Type, out: &mut Writer) -> Result<(), ProtobufError> {
        let slots = self.slots.len();
        self.find_fields(at, kind)?;
        for index in kind.by_number {
            let index = usize::from(*index);
            let field = &kind.fields[index];
            if let Some(part) = field.inline() {
                out.message(field.number, |out| self.object(at, part, out))?;
                continue;
            }
            match self.slots[slots + index] {
                0 => absent(field, out)?,
                value => self.present(value, field, out)?,
            }
        }
        self.slots.truncate(slots);
        Ok(())
    }

    /// Adds a slot for each field of the type.
    fn find_fields(&mut self, at: u32, kind: &'static Type) -> Result<(), ProtobufError> {
        let slots = self.slots.len();
        self.slots.resize(slots + kind.fields.len(), 0);
        // Text in canonical form has the fields in the order of the type.
        let mut likely = 0;
        for name in self.members(at) {
            let text = self.json.string(self.json.node(name))?;
            let (before, behind) = kind.fields.split_at(likely);
            let is_it = |field: &Field| field.name == text && !field.name.is_empty();
            let found = match behind.iter().position(is_it) {
                Some(index) => Some(likely + index),
                None => before.iter().position(is_it),
            };
            if let Some(index) = found {
                likely = index + 1;
                let is_null = self.json.node(name + 1).token == Token::Null;
                self.slots[slots + index] = if is_null { 0 } else { name + 1 };
            }
        }
        Ok(())
    }

    fn present(&mut self, at: u32, field: &'static Field, out: &mut Writer) -> Result<(), ProtobufError> {
        let node = self.json.node(at);
        match (&field.shape, node.token) {
            (Shape::List(inner), Token::Array) => {
                let mut item = at + 1;
                while item < node.next {
                    self.one(item, inner, field.number, out)?;
                    item = self.json.node(item).next;
                }
                Ok(())
            }
            (Shape::Map(inner), Token::Object) => self.map(at, inner, field.number, out),
            (shape, _) => self.one(at, shape, field.number, out),
        }
    }

    /// The entries of a map, sorted by name.
    fn map(
        &mut self,
        at: u32,
        inner: &'static Shape,
        number: u32,
        out: &mut Writer,
    ) -> Result<(), ProtobufError> {
        let first = self.entries.len();
        self.entries.extend(self.members(at));
        let json = self.json;
        self.entries[first..].sort_by(|a, b| {
            let (a, b) = (json.node(*a), json.node(*b));
            match (a.token, b.token) {
                (Token::Text, Token::Text) => json.plain(a).cmp(json.plain(b)),
                _ => json.string(a).unwrap_or_default().cmp(&json.string(b).unwrap_or_default()),
            }
        });
        for entry in first..self.entries.len() {
            let name = self.entries[entry];
            out.message(number, |out| {
                out.string(1, &json.string(json.node(name))?);
                self.one(name + 1, inner, 2, out)
            })?;
        }
        self.entries.truncate(first);
        Ok(())
    }

    fn one(
        &mut self,
        at: u32,
        shape: &'static Shape,
        number: u32,
        out: &mut Writer,
    ) -> Result<(), ProtobufError> {
        use Token::{Array, Escaped, False, Null, Number, Object, Text, True};
        let json = self.json;
        let node = json.node(at);
        match (shape, node.token) {
            (Shape::Object(kind), Object) => out.message(number, |out| self.object(at, kind, out)),
            (Shape::Object(kind), Null) => out.message(number, |out| empty(kind, out)),
            (Shape::OrBool(kind), Object) => out.message(number, |out| {
                out.integer(1, 1);
                out.message(2, |out| self.object(at, kind, out))
            }),
            (Shape::OrList(kind), Object) => {
                out.message(number, |out| out.message(1, |out| self.object(at, kind, out)))
            }
            (Shape::OrList(kind), Array) => out.message(number, |out| {
                let mut item = at + 1;
                while item < node.next {
                    out.message(2, |out| self.object(item, kind, out))?;
                    item = json.node(item).next;
                }
                Ok(())
            }),
            (Shape::OrBool(_), True | False) => out.message(number, |out| {
                out.integer(1, (node.token == True).into());
                Ok(())
            }),
            (Shape::Strings, Array) => out.message(number, |out| {
                let mut item = at + 1;
                while item < node.next {
                    out.string(1, &json.string(json.node(item))?);
                    item = json.node(item).next;
                }
                Ok(())
            }),
            (Shape::Str | Shape::Enum(_), Text) => {
                out.string(number, json.plain(node));
                Ok(())
            }
            (Shape::Str | Shape::Enum(_), Escaped) => {
                out.string(number, &json.string(node)?);
                Ok(())
            }
            (Shape::Bool, True | False) => {
                out.integer(number, (node.token == True).into());
                Ok(())
            }
            (Shape::I32 | Shape::I64, Number) => {
                out.integer(number, integer(json, node)?);
                Ok(())
            }
            (Shape::F64, Number) => {
                out.double(number, json.plain(node).parse().map_err(|_| unfit(json, node, shape))?);
                Ok(())
            }
            (Shape::Bytes, Text | Escaped) => base64(number, &json.string(node)?, out),
            (Shape::Time | Shape::MicroTime, Text) => moment(number, json.plain(node), out),
            (Shape::Quantity, Text) => out.message(number, |out| {
                out.string(1, json.plain(node));
                Ok(())
            }),
            (Shape::Bytes | Shape::Time | Shape::MicroTime | Shape::Strings, Null) => {
                out.bytes(number, &[]);
                Ok(())
            }
            (Shape::IntOrString, Text | Escaped) => int_or_string(number, Ok(&json.string(node)?), out),
            (Shape::IntOrString, Number) => int_or_string(number, Err(integer(json, node)?), out),
            (Shape::IntOrString, Null) => int_or_string(number, Err(0), out),
            (Shape::Raw | Shape::FieldsV1, token) => out.message(number, |out| {
                if token != Null {
                    out.bytes(1, json.raw(node).as_bytes());
                }
                Ok(())
            }),
            _ => Err(unfit(json, node, shape)),
        }
    }
}

/// A message without any of its fields.
fn empty(kind: &'static Type, out: &mut Writer) -> Result<(), ProtobufError> {
    for index in kind.by_number {
        let field = &kind.fields[usize::from(*index)];
        match field.inline() {
            Some(part) => out.message(field.number, |out| empty(part, out))?,
            None => absent(field, out)?,
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
        Shape::Object(kind) => return out.message(field.number, |out| empty(kind, out)),
        Shape::Str | Shape::Enum(_) | Shape::Time | Shape::MicroTime => out.bytes(field.number, &[]),
        Shape::Bool | Shape::I32 | Shape::I64 => out.integer(field.number, 0),
        Shape::IntOrString => return int_or_string(field.number, Err(0), out),
        Shape::Quantity => {
            return out.message(field.number, |out| {
                out.string(1, "0");
                Ok(())
            });
        }
        _ => {}
    }
    Ok(())
}

fn integer(json: Json<'_>, node: Node) -> Result<i64, ProtobufError> {
    let text = json.plain(node);
    text.parse().map_err(|_| ProtobufError::Value(format!("{text} is no integer")))
}

fn base64(number: u32, text: &str, out: &mut Writer) -> Result<(), ProtobufError> {
    out.message(number, |out| {
        let decoded = base64::engine::general_purpose::STANDARD.decode_vec(text, out.buffer());
        decoded.map_err(|error| ProtobufError::Value(error.to_string()))
    })
}

fn moment(number: u32, text: &str, out: &mut Writer) -> Result<(), ProtobufError> {
    let (seconds, nanos) =
        time::parts(text).ok_or_else(|| ProtobufError::Value(format!("{text} is no time")))?;
    out.message(number, |out| {
        out.integer(1, seconds);
        out.integer(2, nanos.into());
        Ok(())
    })
}

fn int_or_string(number: u32, value: Result<&str, i64>, out: &mut Writer) -> Result<(), ProtobufError> {
    out.message(number, |out| {
        out.integer(1, value.is_ok().into());
        out.integer(2, value.err().unwrap_or_default());
        out.string(3, value.unwrap_or_default());
        Ok(())
    })
}

fn unfit(json: Json<'_>, node: Node, shape: &Shape) -> ProtobufError {
    ProtobufError::Value(format!("{} is no {shape:?}", json.raw(node)))
}

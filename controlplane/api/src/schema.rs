//! The types of every served kind: fields, shapes, merge keys, protobuf numbers, descriptions.
//!
//! Not validation of values beyond their type, and not defaults. The data is static, made at build time from
//! `schema/table.txt` and k8s-openapi's descriptions.
//!
//! Invariants: fields are in Go's declaration order, which is the order of the JSON we write; a field named `""` is a
//! part whose own fields appear inline in JSON but nested in protobuf.

mod canonical;
mod data;
mod strict;

pub use canonical::{TypeError, canonical};
pub(crate) use strict::decode_with;
pub use strict::{DEPTH_MAX, Decoded, decode_json, depth, unknown_fields};

/// A structured type.
#[derive(Debug)]
pub struct Type {
    /// As in OpenAPI v3: `io.k8s.api.core.v1.Pod`.
    pub name: &'static str,
    pub fields: &'static [Field],
    /// Indices of the fields in the order of their protobuf numbers.
    pub(crate) by_number: &'static [u16],
    /// Has `apiVersion` and `kind`.
    pub root: bool,
    /// Owned as one piece by server-side apply.
    pub atomic: bool,
    pub(crate) doc: Doc,
}

/// A field of a type.
#[derive(Debug)]
pub struct Field {
    /// Empty for an inline part.
    pub name: &'static str,
    /// Protobuf field number; 0 where the field has none.
    pub number: u32,
    pub shape: Shape,
    /// Unset and zero are different.
    pub pointer: bool,
    /// Written even when empty.
    pub always: bool,
    /// A zero time is left out rather than written as null.
    pub omit_zero: bool,
    pub required: bool,
    /// Strategic merge patch merges this list (or set of primitives) instead of replacing it.
    pub merge: bool,
    /// `$retainKeys` is honoured.
    pub retain_keys: bool,
    /// Names the items of a merged list; empty for primitives.
    pub merge_key: &'static str,
    pub list: ListType,
    /// A map or struct that is owned as one piece.
    pub atomic: bool,
    pub(crate) doc: Doc,
}

/// What a value looks like.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    Str,
    /// A string with known values (validated elsewhere).
    Enum(&'static [&'static str]),
    Bool,
    I32,
    I64,
    F64,
    /// base64 in JSON.
    Bytes,
    /// RFC 3339 with seconds, in UTC.
    Time,
    /// RFC 3339 with microseconds, in UTC.
    MicroTime,
    Quantity,
    IntOrString,
    /// Any object (`runtime.RawExtension`).
    Raw,
    /// A managed field set.
    FieldsV1,
    /// A list of strings that protobuf wraps in a message (`ExtraValue`).
    Strings,
    List(&'static Shape),
    Map(&'static Shape),
    Object(&'static Type),
    /// `true`, `false` or an object (`JSONSchemaPropsOrBool`).
    OrBool(&'static Type),
    /// An object or a list of them (`JSONSchemaPropsOrArray`).
    OrList(&'static Type),
}

/// How server-side apply identifies the items of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    Unset,
    Atomic,
    Set,
    Map(&'static [&'static str]),
}

/// A range of the descriptions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doc(pub u32, pub u32);

impl Doc {
    pub(crate) fn text(self) -> &'static str {
        data::DOCS.get(self.0 as usize..self.1 as usize).unwrap_or_default()
    }
}

/// Finds a type by its OpenAPI name.
pub fn find(name: &str) -> Option<&'static Type> {
    data::TYPES.binary_search_by(|known| known.name.cmp(name)).ok().map(|index| data::TYPES[index])
}

/// Every type, sorted by name.
pub fn types() -> &'static [&'static Type] {
    data::TYPES
}

/// `ObjectMeta`, which every kind has.
pub fn object_meta() -> &'static Type {
    static NAME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    find(NAME).unwrap_or(data::TYPES[0])
}

impl Type {
    /// A field by its JSON name, inline parts included.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        for field in self.fields {
            if field.name == name && !name.is_empty() {
                return Some(field);
            }
            if let Some(part) = field.inline()
                && let Some(found) = part.field(name)
            {
                return Some(found);
            }
        }
        None
    }

    /// A field by its protobuf number (inline parts are fields here).
    pub fn numbered(&self, number: u32) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.number == number)
    }

    /// The last part of the name: `Pod`.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    pub fn description(&self) -> &'static str {
        self.doc.text()
    }
}

impl Field {
    /// The type whose fields appear in place of this one.
    pub fn inline(&self) -> Option<&'static Type> {
        match self.shape {
            Shape::Object(part) if self.name.is_empty() => Some(part),
            _ => None,
        }
    }

    pub fn description(&self) -> &'static str {
        self.doc.text()
    }
}

impl Shape {
    /// The type behind lists and maps, if there is one.
    pub fn object(&self) -> Option<&'static Type> {
        match self {
            Shape::Object(kind) | Shape::OrBool(kind) | Shape::OrList(kind) => Some(kind),
            Shape::List(inner) | Shape::Map(inner) => inner.object(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;

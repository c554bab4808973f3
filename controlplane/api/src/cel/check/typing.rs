//! The types of expressions.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use crate::structural::{Additional, Structural};

/// A type.
#[derive(Clone, Debug)]
pub enum Type<'s> {
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Timestamp,
    Duration,
    List(Box<Type<'s>>),
    Map(Box<Type<'s>>),
    /// An object with a schema; the flag says that it is one of the API, with metadata.
    Object(&'s Structural, bool),
    /// Fields with a type each, which no schema describes: the variables of a policy.
    Fields(Rc<BTreeMap<String, Type<'s>>>),
    Optional(Box<Type<'s>>),
    Other(&'static str),
}

impl fmt::Display for Type<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dyn => f.write_str("dyn"),
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Uint => f.write_str("uint"),
            Type::Double => f.write_str("double"),
            Type::Text => f.write_str("string"),
            Type::Bytes => f.write_str("bytes"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::List(item) => write!(f, "list({item})"),
            Type::Map(value) => write!(f, "map(string, {value})"),
            Type::Object(..) | Type::Fields(_) => f.write_str("object"),
            Type::Optional(inner) => write!(f, "optional_type({inner})"),
            Type::Other(name) => f.write_str(name),
        }
    }
}

impl<'s> Type<'s> {
    /// The type of what a schema describes.
    pub fn of(schema: &'s Structural, root: bool) -> Type<'s> {
        let format = schema.checks.as_ref().map_or("", |checks| checks.format.as_str());
        match (schema.of, &schema.additional) {
            _ if root => Type::Object(schema, true),
            ("object", Additional::Each(each)) if schema.properties.is_empty() => {
                Type::Map(Box::new(Type::of(each, false)))
            }
            ("object", _) if schema.properties.is_empty() && schema.preserves => Type::Dyn,
            ("object", _) => Type::Object(schema, schema.embedded),
            ("array", _) => {
                Type::List(Box::new(schema.items.as_ref().map_or(Type::Dyn, |items| Type::of(items, false))))
            }
            ("string", _) => match format {
                "date-time" | "date" => Type::Timestamp,
                "duration" => Type::Duration,
                "byte" => Type::Bytes,
                _ => Type::Text,
            },
            ("integer", _) => Type::Int,
            ("number", _) => Type::Double,
            ("boolean", _) => Type::Bool,
            _ => Type::Dyn,
        }
    }

    /// Whether it is made of more than so many types within each other, or of fields that no schema describes.
    pub(crate) fn is_nested(&self, most: usize) -> bool {
        match self {
            Type::List(inner) | Type::Map(inner) | Type::Optional(inner) => {
                most == 0 || inner.is_nested(most - 1)
            }
            Type::Fields(_) => true,
            _ => false,
        }
    }

    pub(super) fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn)
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Type::Int | Type::Uint | Type::Double)
    }

    /// Whether a value of this type may stand where the other is wanted.
    pub(in super::super) fn fits(&self, wanted: &Type<'_>) -> bool {
        match (self, wanted) {
            (Type::Dyn, _) | (_, Type::Dyn) => true,
            (Type::List(a), Type::List(b))
            | (Type::Map(a), Type::Map(b))
            | (Type::Optional(a), Type::Optional(b)) => a.fits(b),
            (Type::Object(..), Type::Object(..) | Type::Map(_)) | (Type::Map(_), Type::Object(..)) => true,
            (Type::Null, Type::Object(..) | Type::Optional(_))
            | (Type::Object(..) | Type::Optional(_), Type::Null) => true,
            (Type::Other(a), Type::Other(b)) => a == b,
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }

    /// What both may be.
    pub(super) fn joined(self, other: Type<'s>) -> Type<'s> {
        if self.fits(&other) && !other.is_dyn() { self } else { Type::Dyn }
    }
}

//! The static tables themselves, written by `build.rs`.

use super::{Doc, Field, ListType, Shape, Type};

pub(super) static DOCS: &str = include_str!(concat!(env!("OUT_DIR"), "/docs.txt"));

include!(concat!(env!("OUT_DIR"), "/schema.rs"));

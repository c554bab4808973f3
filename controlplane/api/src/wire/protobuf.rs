//! Protobuf both ways, driven by the schema: JSON text to messages, messages to JSON values, for every served type.
//!
//! Not generated code: field numbers and shapes come from `schema`, so a field exists in every encoding or in none.
//!
//! ```text
//! body  = "k8s\0" Unknown{ typeMeta=1{apiVersion=1, kind=2} raw=2 contentEncoding=3 contentType=4 }
//! ```
//!
//! Invariants: what upstream writes always (fields that are no pointers) is written always; an unknown field number,
//! a wrong wire type, bad UTF-8 or a length beyond the input is an error, never a panic and never dropped data.
//! Reference: `generated.proto` of k8s.io/api 0.36; protobuf encoding guide.

mod decode;
mod encode;
pub mod envelope;
mod read;
mod tape;
mod write;

pub use decode::decode;
pub use encode::{Encoder, encode, encode_list_metadata, encode_value};
pub use write::Writer;

/// A message that cannot be understood.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProtobufError {
    #[error("unexpected EOF")]
    Truncated,
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: illegal wireType {0}")]
    WireType(u8),
    #[error("proto: wrong wireType = {wire_type} for field {field}")]
    FieldWireType { field: String, wire_type: u8 },
    #[error("unknown protobuf field number {number} in {path}")]
    UnknownField { path: String, number: u32 },
    #[error("proto: field {0} contains invalid UTF-8")]
    Utf8(String),
    #[error("proto: nested too deeply")]
    Depth,
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    #[error("{0}")]
    Value(String),
}

//! `runtime.Unknown` behind the magic number: the frame of every protobuf body.

use super::read::{LENGTH, Reader};
use super::{ProtobufError, Writer};

/// Starts every body and every stored protobuf object.
pub const MAGIC: &[u8] = b"k8s\0";

/// An opened envelope.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    pub api_version: String,
    pub kind: String,
    pub raw: &'a [u8],
}

/// What stands behind a message: contentEncoding and contentType, both empty.
pub const END: &[u8] = &[3 << 3 | LENGTH, 0, 4 << 3 | LENGTH, 0];

/// Wraps a message.
pub fn seal(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut out = begin(api_version, kind, message.len());
    out.extend_from_slice(message);
    out.extend_from_slice(END);
    out
}

/// What stands before a message of so many bytes.
pub fn begin(api_version: &str, kind: &str, length: usize) -> Vec<u8> {
    let mut type_meta = Writer::default();
    type_meta.string(1, api_version);
    type_meta.string(2, kind);
    let mut unknown = Writer::default();
    unknown.bytes(1, &type_meta.into_bytes());
    unknown.length(2, length);
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&unknown.into_bytes());
    out
}

/// Unwraps a body.
pub fn open(body: &[u8]) -> Result<Envelope<'_>, ProtobufError> {
    let message = body.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?;
    let mut envelope = Envelope::default();
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => {
                let mut meta = Reader::new(field.bytes);
                while let Some(part) = meta.next_field()? {
                    let text = || {
                        let text = std::str::from_utf8(part.bytes)
                            .map_err(|_| ProtobufError::Utf8("typeMeta".into()))?;
                        Ok(text.to_owned())
                    };
                    match part.number {
                        1 => envelope.api_version = text()?,
                        2 => envelope.kind = text()?,
                        number => {
                            return Err(ProtobufError::UnknownField { path: "typeMeta".into(), number });
                        }
                    }
                }
            }
            2 => envelope.raw = field.bytes,
            3 | 4 if field.bytes.is_empty() => {}
            3 | 4 => return Err(ProtobufError::Value("an encoded protobuf body is not supported".into())),
            number => return Err(ProtobufError::UnknownField { path: "runtime.Unknown".into(), number }),
        }
    }
    Ok(envelope)
}

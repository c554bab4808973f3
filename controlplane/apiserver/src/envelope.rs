//! How an object lies in the store.
//!
//! ```text
//! format u8 = 1 | encoding u8 = 0 (JSON) | key id length u8, key id | splice u32 | GVK length u8, GVK | content
//! ```
//!
//! The content is the object's JSON without `metadata.resourceVersion`, which the store knows better: it is
//! put in at `splice`, right behind `"metadata":{`, so that reading never parses and re-encodes.
//! A key id names the key that the content is encrypted with; there is none yet, and one is refused.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};
use store::Revision;

const FORMAT: u8 = 1;
const JSON: u8 = 0;
const METADATA: &str = "\"metadata\":{";

/// Why stored bytes are not an object.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvelopeError {
    /// A later format or encoding.
    #[error(
        "stored object has format {format}, encoding {encoding}: written by a newer Keelson, run that one"
    )]
    Newer {
        /// Format byte.
        format: u8,
        /// Encoding byte.
        encoding: u8,
    },
    /// Encrypted with a key that this process does not have.
    #[error("stored object is encrypted with a key that is not configured")]
    Encrypted,
    /// Cut short or no JSON.
    #[error("stored object is damaged: {0}")]
    Damaged(String),
}

/// Makes the stored form of an object. `resourceVersion` is left out; `kind`, `apiVersion` and `metadata`
/// come first.
pub fn seal(object: &Value) -> Vec<u8> {
    let empty = Map::new();
    let fields = object.as_object().unwrap_or(&empty);
    let text = |name| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let gvk = format!("{}, Kind={}", text("apiVersion"), text("kind"));
    let gvk = &gvk.as_bytes()[..gvk.len().min(usize::from(u8::MAX))];

    let mut content = String::with_capacity(1024);
    content.push_str("{\"kind\":");
    push(&mut content, fields.get("kind").unwrap_or(&Value::Null));
    content.push_str(",\"apiVersion\":");
    push(&mut content, fields.get("apiVersion").unwrap_or(&Value::Null));
    content.push(',');
    content.push_str(METADATA);
    let splice = content.len();
    let metadata = fields.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    push_fields(&mut content, metadata, &["resourceVersion"], true);
    content.push('}');
    push_fields(&mut content, fields, &["kind", "apiVersion", "metadata"], false);
    content.push('}');

    let mut bytes = Vec::with_capacity(8 + gvk.len() + content.len());
    bytes.extend_from_slice(&[FORMAT, JSON, 0]);
    bytes.extend_from_slice(&(splice as u32).to_le_bytes());
    bytes.push(gvk.len() as u8);
    bytes.extend_from_slice(gvk);
    bytes.extend_from_slice(content.as_bytes());
    bytes
}

/// The object's JSON with its resourceVersion.
pub fn open(bytes: &[u8], revision: Revision) -> Result<Bytes, EnvelopeError> {
    let damaged = || EnvelopeError::Damaged("it is too short".into());
    let [format, encoding, key, rest @ ..] = bytes else { return Err(damaged()) };
    if *format != FORMAT || *encoding != JSON {
        return Err(EnvelopeError::Newer { format: *format, encoding: *encoding });
    }
    if *key != 0 {
        return Err(EnvelopeError::Encrypted);
    }
    let (splice, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
    let (gvk, rest) = rest.split_first().ok_or_else(damaged)?;
    let content = rest.get(usize::from(*gvk)..).ok_or_else(damaged)?;
    let splice = u32::from_le_bytes(*splice) as usize;
    let (head, tail) = content.split_at_checked(splice).ok_or_else(damaged)?;
    let mut json = BytesMut::with_capacity(content.len() + 48);
    json.put_slice(head);
    json.put_slice(b"\"resourceVersion\":\"");
    json.put_slice(revision.to_string().as_bytes());
    json.put_u8(b'"');
    if tail.first() != Some(&b'}') {
        json.put_u8(b',');
    }
    json.put_slice(tail);
    Ok(json.freeze())
}

fn push_fields(text: &mut String, fields: &Map<String, Value>, except: &[&str], mut first: bool) {
    for (name, value) in fields.iter().filter(|(name, _)| !except.contains(&name.as_str())) {
        if !std::mem::take(&mut first) {
            text.push(',');
        }
        push(text, &Value::String(name.clone()));
        text.push(':');
        push(text, value);
    }
}

fn push(text: &mut String, value: &Value) {
    use std::fmt::Write;
    // Writing to a String does not fail.
    let _ = write!(text, "{value}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_sealed_opens_with_the_revision_of_the_store() {
        for object in [
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a", "resourceVersion": "7", "labels": {"x": "\"metadata\":{"}}, "spec": {"a": [1, 2]}}),
            json!({"apiVersion": "v1", "metadata": {}, "kind": "Pod"}),
        ] {
            let bytes = open(&seal(&object), Revision(42)).unwrap();
            let found: Value = serde_json::from_slice(&bytes).unwrap();
            let mut expected = object.clone();
            expected["metadata"]["resourceVersion"] = "42".into();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn damage_and_later_formats_are_told_apart() {
        let sealed = seal(&json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}}));
        assert!(matches!(
            open(&[2, 0, 0, 0], Revision(1)),
            Err(EnvelopeError::Newer { format: 2, encoding: 0 })
        ));
        assert!(matches!(open(&[1, 0, 3, 0, 0], Revision(1)), Err(EnvelopeError::Encrypted)));
        for cut in 0..9 {
            assert!(matches!(open(&sealed[..cut], Revision(1)), Err(EnvelopeError::Damaged(_))), "{cut}");
        }
    }
}

//! How an object lies in the store.
//!
//! ```text
//! format u8 = 1 | encoding u8 = 0 (JSON) | key id length u8, key id | splice u32 | GVK length u8, GVK | content
//! ```
//!
//! The content is the object's JSON without `metadata.resourceVersion`, which the store knows better: it is
//! put in at `splice`, right behind `"metadata":{`, so that reading never parses and re-encodes.
//! A key id names the key (`encryption`) that the content is encrypted with, bound to all that stands before it and to the
//! object's key in the store; without one the content is plain.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};
use store::Revision;

use crate::encryption::{Key, Keyring};

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
    #[error(
        "stored object is encrypted with {0:?}, a key that is not configured: put it into the encryption configuration (a server that joins needs the other servers' pki/encryption.yaml)"
    )]
    Encrypted(String),
    /// The key does not open it, or cannot seal.
    #[error("stored object, key {key:?}: {source}")]
    Unfit {
        /// The key's id.
        key: String,
        /// What is wrong.
        source: crate::encryption::Unfit,
    },
    /// Cut short or no JSON.
    #[error("stored object is damaged: {0}")]
    Damaged(String),
}

/// Where an object is stored, and how it is written there.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its key in the store.
    pub path: &'a [u8],
    /// What its content is encrypted with.
    pub key: Option<&'a Key>,
}

/// Makes the stored form of an object. `resourceVersion` is left out; `kind`, `apiVersion` and `metadata`
/// come first.
pub fn seal(object: &Value, place: Place<'_>) -> Result<Vec<u8>, EnvelopeError> {
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
    wrap(content.as_bytes(), (splice as u32).to_le_bytes(), gvk, place)
}

fn wrap(content: &[u8], splice: [u8; 4], gvk: &[u8], place: Place<'_>) -> Result<Vec<u8>, EnvelopeError> {
    let id = place.key.map_or("", |key| &key.id);
    let mut bytes = Vec::with_capacity(8 + id.len() + gvk.len() + content.len());
    bytes.extend_from_slice(&[FORMAT, JSON, id.len() as u8]);
    bytes.extend_from_slice(id.as_bytes());
    bytes.extend_from_slice(&splice);
    bytes.push(gvk.len() as u8);
    bytes.extend_from_slice(gvk);
    match place.key {
        None => bytes.extend_from_slice(content),
        Some(key) => {
            let unfit = |source| EnvelopeError::Unfit { key: key.id.clone(), source };
            let around = [&bytes, place.path].concat();
            bytes.extend(key.seal(content, &around).map_err(unfit)?);
        }
    }
    Ok(bytes)
}

/// An envelope taken apart, its content still as it was written.
struct Parts<'a> {
    key: &'a str,
    splice: [u8; 4],
    gvk: &'a [u8],
    /// All that stands before the content.
    head: &'a [u8],
    content: &'a [u8],
}

fn parts(bytes: &[u8]) -> Result<Parts<'_>, EnvelopeError> {
    let damaged = || EnvelopeError::Damaged("it is too short".into());
    let [format, encoding, key, rest @ ..] = bytes else { return Err(damaged()) };
    if *format != FORMAT || *encoding != JSON {
        return Err(EnvelopeError::Newer { format: *format, encoding: *encoding });
    }
    let (key, rest) = rest.split_at_checked(usize::from(*key)).ok_or_else(damaged)?;
    let key = std::str::from_utf8(key).map_err(|error| EnvelopeError::Damaged(error.to_string()))?;
    let (splice, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
    let (gvk, rest) = rest.split_first().ok_or_else(damaged)?;
    let (gvk, content) = rest.split_at_checked(usize::from(*gvk)).ok_or_else(damaged)?;
    let head = &bytes[..bytes.len() - content.len()];
    Ok(Parts { key, splice: *splice, gvk, head, content })
}

/// The id of the key that stored bytes are encrypted with; empty where they are not.
pub fn key_id(bytes: &[u8]) -> Result<&str, EnvelopeError> {
    parts(bytes).map(|parts| parts.key)
}

/// The content in the clear.
fn content<'a>(parts: &Parts<'a>, keys: &Keyring, path: &[u8]) -> Result<Cow<'a, [u8]>, EnvelopeError> {
    if parts.key.is_empty() {
        return Ok(Cow::Borrowed(parts.content));
    }
    let around = [parts.head, path].concat();
    match keys.open(parts.key, parts.content, &around) {
        None => Err(EnvelopeError::Encrypted(parts.key.to_owned())),
        Some(opened) => opened
            .map(Cow::Owned)
            .map_err(|source| EnvelopeError::Unfit { key: parts.key.to_owned(), source }),
    }
}

/// The same object, written as `place` says.
pub fn reseal(bytes: &[u8], keys: &Keyring, place: Place<'_>) -> Result<Vec<u8>, EnvelopeError> {
    let parts = parts(bytes)?;
    wrap(&content(&parts, keys, place.path)?, parts.splice, parts.gvk, place)
}

/// The object's JSON with its resourceVersion.
pub fn open(bytes: &[u8], revision: Revision, keys: &Keyring, path: &[u8]) -> Result<Bytes, EnvelopeError> {
    let parts = parts(bytes)?;
    let content = content(&parts, keys, path)?;
    let splice = u32::from_le_bytes(parts.splice) as usize;
    let damaged = || EnvelopeError::Damaged("it is too short".into());
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

    const PATH: &[u8] = b"/registry/pods/default/a";
    const PLAIN: Place<'static> = Place { path: PATH, key: None };

    fn keyring(names: &[&str]) -> Keyring {
        let keys: String = names.iter().fold(String::new(), |keys, name| {
            keys + &format!("{{name: {name}, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}},")
        });
        let keys = format!("[{{aesgcm: {{keys: [{keys}]}}}}]");
        Keyring::parse(&format!("{{kind: EncryptionConfiguration, apiVersion: apiserver.config.k8s.io/v1, resources: [{{resources: [pods], providers: {keys}}}]}}")).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_the_revision_of_the_store() {
        let keys = keyring(&["a"]);
        for object in [
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a", "resourceVersion": "7", "labels": {"x": "\"metadata\":{"}}, "spec": {"a": [1, 2]}}),
            json!({"apiVersion": "v1", "metadata": {}, "kind": "Pod"}),
        ] {
            for key in [None, keys.writer("", "pods").map(|key| &**key)] {
                let sealed = seal(&object, Place { path: PATH, key }).unwrap();
                assert_eq!(sealed.windows(4).any(|bytes| bytes == b"kind"), key.is_none());
                let bytes = open(&sealed, Revision(42), &keys, PATH).unwrap();
                let found: Value = serde_json::from_slice(&bytes).unwrap();
                let mut expected = object.clone();
                expected["metadata"]["resourceVersion"] = "42".into();
                assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn an_object_goes_from_key_to_key_and_to_no_other_place() {
        let (old, both, new) = (keyring(&["a"]), keyring(&["b", "a"]), keyring(&["b"]));
        let object = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}});
        let written = |keys: &Keyring| keys.writer("", "pods").cloned();
        let first = seal(&object, Place { path: PATH, key: written(&old).as_deref() }).unwrap();
        let second = reseal(&first, &both, Place { path: PATH, key: written(&both).as_deref() }).unwrap();
        assert_eq!((key_id(&first), key_id(&second)), (Ok("aesgcm:v1:a"), Ok("aesgcm:v1:b")));
        let plain = reseal(&second, &new, PLAIN).unwrap();
        assert_eq!(plain, seal(&object, PLAIN).unwrap());
        assert_eq!(
            open(&second, Revision(1), &old, PATH),
            Err(EnvelopeError::Encrypted("aesgcm:v1:b".into()))
        );
        assert!(matches!(
            open(&second, Revision(1), &new, b"/registry/pods/default/b"),
            Err(EnvelopeError::Unfit { .. })
        ));
    }

    #[test]
    fn damage_and_later_formats_are_told_apart() {
        let none = Keyring::default();
        let sealed =
            seal(&json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}}), PLAIN).unwrap();
        let read = |bytes: &[u8]| open(bytes, Revision(1), &none, PATH);
        assert!(matches!(read(&[2, 0, 0, 0]), Err(EnvelopeError::Newer { format: 2, encoding: 0 })));
        assert!(matches!(read(&[1, 0, 1, b'x', 0, 0, 0, 0, 0]), Err(EnvelopeError::Encrypted(_))));
        for cut in 0..9 {
            assert!(matches!(read(&sealed[..cut]), Err(EnvelopeError::Damaged(_))), "{cut}");
        }
    }
}

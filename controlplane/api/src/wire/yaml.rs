//! YAML bodies and answers. YAML 1.1's booleans (`yes`, `on`, ...) are booleans, as kubectl's parser reads them.

use serde::Deserialize as _;
use serde_json::Value;

use crate::field::quote;
use crate::schema::{Decoded, Type};

/// Parses one document; doubled keys become issues (the last one counts).
pub fn from_yaml(text: &[u8], kind: Option<&'static Type>) -> Result<Decoded, String> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        strict_booleans: false,
        with_snippet: false,
    };
    serde_saphyr::with_deserializer_from_slice_with_options(text, options, |deserializer| {
        crate::schema::decode_with(deserializer, kind)
    })
    .map_err(|error| error.to_string())
}

/// The first key that a text (YAML or JSON) gives twice, in the words of upstream's parser.
pub fn doubled_key(text: &[u8]) -> Option<String> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        strict_booleans: false,
        with_snippet: false,
    };
    let read = serde_saphyr::with_deserializer_from_slice_with_options(text, options, |deserializer| {
        serde::de::IgnoredAny::deserialize(deserializer)
    });
    match read {
        Err(serde_saphyr::Error::DuplicateMappingKey { key, location }) => Some(format!(
            "error converting YAML to JSON: yaml: unmarshal errors:\n  line {}: key {} already set in map",
            location.line(),
            quote(&key.unwrap_or_default())
        )),
        _ => None,
    }
}

/// Writes a value with its keys sorted, as upstream does.
pub fn to_yaml(value: &Value) -> Result<String, String> {
    serde_saphyr::to_string(&sorted(value)).map_err(|error| error.to_string())
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            Value::Object(entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

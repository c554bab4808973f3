//! YAML bodies and answers. YAML 1.1's booleans (`yes`, `on`, ...) are booleans, as kubectl's parser reads them.

use serde::Deserialize as _;
use serde_json::Value;

use crate::field::quote;
use crate::schema::{Decoded, Type};

/// Text of a document after its aliases were followed: they make much of few bytes, and a body has 3 MiB at most.
const TEXT_BYTES_MAX: usize = 8 << 20;

/// Parses one document; doubled keys become issues (the last one counts).
pub fn from_yaml(text: &[u8], kind: Option<&'static Type>) -> Result<Decoded, String> {
    let options = options(serde_saphyr::DuplicateKeyPolicy::LastWins);
    serde_saphyr::with_deserializer_from_slice_with_options(text, options, |deserializer| {
        crate::schema::decode_with(deserializer, kind)
    })
    .map_err(|error| error.to_string())
}

/// The first key that a text (YAML or JSON) gives twice, in the words of upstream's parser.
pub fn doubled_key(text: &[u8]) -> Option<String> {
    let options = options(serde_saphyr::DuplicateKeyPolicy::Error);
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

fn options(doubled: serde_saphyr::DuplicateKeyPolicy) -> serde_saphyr::Options {
    serde_saphyr::options! {
        duplicate_keys: doubled,
        strict_booleans: false,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_total_scalar_bytes: TEXT_BYTES_MAX },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_make_no_more_than_a_body_may_hold() {
        let bomb = |text: usize, levels: usize| {
            let mut yaml = format!("a0: &a0 {}\n", "x".repeat(text));
            for level in 1..=levels {
                let before = format!("*a{}", level - 1);
                yaml.push_str(&format!("a{level}: &a{level} [{}]\n", [before.as_str(); 9].join(", ")));
            }
            yaml
        };
        let small = from_yaml(bomb(10, 2).as_bytes(), None).map(|decoded| decoded.value).unwrap();
        assert_eq!(small["a2"][8][8], "xxxxxxxxxx");
        // 20 MB of 3 KB, 150 MB of 1.6 MB, and half a million of nothing.
        for (text, levels) in [(3000, 4), (1_600_000, 2), (1, 6)] {
            let error = from_yaml(bomb(text, levels).as_bytes(), None).map(drop).unwrap_err();
            assert!(doubled_key(bomb(text, levels).as_bytes()).is_none());
            assert!(!error.contains("xxxx"), "{error:.200}");
        }
    }
}

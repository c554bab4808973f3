//! Pod templates: whether two are the same, and the hash that names a ReplicaSet. Pure.

use serde_json::Value;

/// Label that a ReplicaSet, its selector and its pods carry.
pub(super) const HASH: &str = "pod-template-hash";

/// No vowels and no digits that look like some: a hash must not spell a word.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The set was made from the deployment's template as it is now.
pub(super) fn is_current(deployment: &Value, set: &Value) -> bool {
    let wanted = &deployment["spec"]["template"];
    let mut made = set["spec"]["template"].clone();
    if let Some(labels) = made.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.shift_remove(HASH);
    }
    without_null_time(wanted) == without_null_time(&made)
}

/// Some servers write `creationTimestamp: null` into templates, others do not.
fn without_null_time(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(meta) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        if meta.get("creationTimestamp").is_some_and(Value::is_null) {
            meta.shift_remove("creationTimestamp");
        }
        if meta.get("labels").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
            meta.shift_remove("labels");
        }
    }
    template
}

/// The hash of a template; another one for each collision seen so far.
pub(crate) fn hash(template: &Value, collisions: i64) -> String {
    let mut state = Fnv(0x811c_9dc5);
    write(&mut state, template);
    if collisions > 0 {
        state.add(&collisions.to_le_bytes());
    }
    let letter = |digit: u8| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]);
    state.0.to_string().bytes().map(letter).collect()
}

/// FNV-1a, 32 bits.
struct Fnv(u32);

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
}

/// Hashes a value with its fields by name, so that their order does not count.
fn write(state: &mut Fnv, value: &Value) {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<_> = fields.iter().collect();
            names.sort_by_key(|(name, _)| *name);
            state.add(b"{");
            for (name, value) in names {
                state.add(name.as_bytes());
                state.add(b"\0");
                write(state, value);
            }
            state.add(b"}");
        }
        Value::Array(items) => {
            state.add(b"[");
            items.iter().for_each(|item| write(state, item));
            state.add(b"]");
        }
        scalar => state.add(scalar.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hashes_are_stable_names() {
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let same = json!({"spec": {"containers": [{"image": "i", "name": "c"}]}, "metadata": {"labels": {"a": "b"}}});
        let name = hash(&template, 0);
        assert_eq!(name, hash(&same, 0));
        assert_ne!(name, hash(&template, 1));
        assert!(
            (8..=10).contains(&name.len()) && name.bytes().all(|letter| ALPHABET.contains(&letter)),
            "{name}"
        );
    }

    #[test]
    fn the_hash_label_does_not_count() {
        let deployment =
            json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"x": 1}}}});
        let set = |labels: Value, x: i64| json!({"spec": {"template": {"metadata": {"labels": labels}, "spec": {"x": x}}}});
        assert!(is_current(&deployment, &set(json!({"a": "b", HASH: "z"}), 1)));
        assert!(!is_current(&deployment, &set(json!({"a": "b"}), 2)));
        assert!(!is_current(&deployment, &set(json!({"a": "c"}), 1)));
    }
}

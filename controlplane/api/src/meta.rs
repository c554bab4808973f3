//! `metadata` of an object in JSON: the typed glimpse that the engine needs, and the few changes it makes.
//!
//! Not a copy of ObjectMeta: everything else stays in the value untouched.
//!
//! Invariant: setters keep Go's field order, so an object's bytes depend on its content alone.

use serde_json::{Map, Value};

use crate::schema;

/// Finalizer of foreground deletion.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of orphaning deletion.
pub const ORPHAN: &str = "orphan";

/// The metadata of an object, borrowed; absent metadata reads as empty.
#[derive(Clone, Copy, Debug)]
pub struct Meta<'a>(Option<&'a Map<String, Value>>);

/// One owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    pub controller: bool,
    pub blocks_deletion: bool,
}

impl<'a> Meta<'a> {
    pub fn of(object: &'a Value) -> Self {
        Meta(object.get("metadata").and_then(Value::as_object))
    }

    pub fn name(self) -> &'a str {
        self.text("name")
    }

    pub fn generate_name(self) -> &'a str {
        self.text("generateName")
    }

    pub fn namespace(self) -> &'a str {
        self.text("namespace")
    }

    pub fn uid(self) -> &'a str {
        self.text("uid")
    }

    pub fn resource_version(self) -> &'a str {
        self.text("resourceVersion")
    }

    pub fn creation_timestamp(self) -> &'a str {
        self.text("creationTimestamp")
    }

    pub fn generation(self) -> i64 {
        self.get("generation").and_then(Value::as_i64).unwrap_or_default()
    }

    /// Set once deletion has begun; never unset.
    pub fn deletion_timestamp(self) -> Option<&'a str> {
        self.get("deletionTimestamp").and_then(Value::as_str)
    }

    pub fn deletion_grace_period_seconds(self) -> Option<i64> {
        self.get("deletionGracePeriodSeconds").and_then(Value::as_i64)
    }

    pub fn finalizers(self) -> impl Iterator<Item = &'a str> {
        self.get("finalizers").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    pub fn labels(self) -> Option<&'a Map<String, Value>> {
        self.get("labels").and_then(Value::as_object)
    }

    pub fn label(self, key: &str) -> Option<&'a str> {
        self.labels()?.get(key)?.as_str()
    }

    pub fn annotation(self, key: &str) -> Option<&'a str> {
        self.get("annotations")?.get(key)?.as_str()
    }

    pub fn owners(self) -> impl Iterator<Item = Owner<'a>> {
        self.get("ownerReferences").and_then(Value::as_array).into_iter().flatten().map(|owner| {
            let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
            Owner {
                api_version: text("apiVersion"),
                kind: text("kind"),
                name: text("name"),
                uid: text("uid"),
                controller: owner.get("controller") == Some(&Value::Bool(true)),
                blocks_deletion: owner.get("blockOwnerDeletion") == Some(&Value::Bool(true)),
            }
        })
    }

    /// The one owner that manages the object.
    pub fn controller(self) -> Option<Owner<'a>> {
        self.owners().find(|owner| owner.controller)
    }

    fn get(self, key: &str) -> Option<&'a Value> {
        self.0?.get(key)
    }

    fn text(self, key: &str) -> &'a str {
        self.get(key).and_then(Value::as_str).unwrap_or_default()
    }
}

/// Sets a field of the metadata at the place where Go would write it; `None` removes it.
pub fn set(object: &mut Value, key: &str, value: Option<Value>) {
    let Value::Object(root) = object else { return };
    let slot = root.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    let Value::Object(meta) = slot else { return };
    let Some(value) = value else {
        meta.shift_remove(key);
        return;
    };
    if let Some(known) = meta.get_mut(key) {
        *known = value;
        return;
    }
    let place = |name: &str| {
        schema::object_meta().fields.iter().position(|field| field.name == name).unwrap_or(usize::MAX)
    };
    let mine = place(key);
    let before = meta.keys().take_while(|known| place(known) < mine).count();
    meta.shift_insert(before, key.to_owned(), value);
}

/// `apiVersion`, `kind` and `metadata` alone, as `as=PartialObjectMetadata` answers.
pub fn partial(object: &Value, version: &str) -> Value {
    let mut out = Map::new();
    out.insert("kind".into(), "PartialObjectMetadata".into());
    out.insert("apiVersion".into(), format!("meta.k8s.io/{version}").into());
    out.insert(
        "metadata".into(),
        object.get("metadata").cloned().unwrap_or_else(|| Value::Object(Map::new())),
    );
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 3, "labels": {"a": "b"},
            "finalizers": ["x"], "ownerReferences": [{"kind": "ReplicaSet", "name": "r", "uid": "o", "controller": true}]}});
        let meta = Meta::of(&pod);
        assert_eq!((meta.name(), meta.namespace(), meta.uid(), meta.generation()), ("p", "n", "u", 3));
        assert_eq!(
            (meta.label("a"), meta.annotation("a"), meta.deletion_timestamp()),
            (Some("b"), None, None)
        );
        assert_eq!(meta.controller().map(|owner| owner.name), Some("r"));
        assert_eq!(meta.finalizers().collect::<Vec<_>>(), ["x"]);
        assert_eq!(Meta::of(&json!({})).name(), "");
    }

    #[test]
    fn setting_keeps_the_order() {
        let mut pod = json!({"kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {}});
        set(&mut pod, "uid", Some("u".into()));
        set(&mut pod, "namespace", Some("n".into()));
        set(&mut pod, "labels", None);
        set(&mut pod, "name", Some("q".into()));
        assert_eq!(
            pod.to_string(),
            r#"{"kind":"Pod","metadata":{"name":"q","namespace":"n","uid":"u"},"spec":{}}"#
        );
        assert_eq!(
            partial(&pod, "v1").to_string(),
            r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"q","namespace":"n","uid":"u"}}"#
        );
    }
}

//! Pods made from an owner's template.

use api::meta::Meta;
use client::Resource;
use serde_json::{Map, Value, json};

use crate::fields::{controller_reference, map};

/// How a pod gets its name.
pub(crate) enum Name {
    /// By the server, with this before it.
    Generated(String),
    Fixed(String),
}

/// A pod of the template at `spec.template`, owned by the owner.
pub(crate) fn pod(resource: &Resource, owner: &Value, name: Name) -> Value {
    let meta = Meta::of(owner);
    let mut metadata = Map::new();
    match name {
        Name::Generated(base) => metadata.insert("generateName".into(), base.into()),
        Name::Fixed(name) => metadata.insert("name".into(), name.into()),
    };
    metadata.insert("namespace".into(), meta.namespace().into());
    for field in ["labels", "annotations"] {
        if let Some(given) = map(owner, &format!("/spec/template/metadata/{field}")) {
            metadata.insert(field.into(), Value::Object(given.clone()));
        }
    }
    if let Some(finalizers) = owner.pointer("/spec/template/metadata/finalizers") {
        metadata.insert("finalizers".into(), finalizers.clone());
    }
    metadata.insert("ownerReferences".into(), json!([controller_reference(resource, owner)]));
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": owner["spec"]["template"]["spec"]})
}

/// Sets an entry of a map within the object's metadata: a label or an annotation.
pub(crate) fn mark(object: &mut Value, map: &str, key: &str, value: impl Into<Value>) {
    let metadata = &mut object["metadata"];
    if !metadata[map].is_object() {
        metadata[map] = json!({});
    }
    metadata[map][key] = value.into();
}

//! Objects as a cache holds them: the bytes that came, parsed when somebody looks.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use api::meta::Meta;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

use crate::{ClientError, Resource};

/// Namespace and name. The namespace is empty for cluster-wide objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Key {
        Key { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// One version of an object; never changes.
pub struct Object {
    pub key: Key,
    pub uid: String,
    pub resource_version: String,
    raw: Box<str>,
    resource: Arc<Resource>,
    value: OnceLock<Box<Value>>,
    /// What a reader has made of the bytes, in their place.
    extract: Option<Box<dyn Any + Send + Sync>>,
}

#[derive(Deserialize)]
struct Glimpse<'a> {
    #[serde(borrow)]
    metadata: Names<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Names<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(borrow, default)]
    resource_version: Cow<'a, str>,
}

impl Object {
    pub(crate) fn read(resource: &Arc<Resource>, raw: &RawValue) -> Result<Object, ClientError> {
        let Glimpse { metadata } = serde_json::from_str(raw.get())
            .map_err(|error| ClientError::Answer(format!("{resource}: {error}")))?;
        Ok(Object {
            key: Key::new(metadata.namespace, metadata.name),
            uid: metadata.uid.into_owned(),
            resource_version: metadata.resource_version.into_owned(),
            raw: raw.get().into(),
            resource: resource.clone(),
            value: OnceLock::new(),
            extract: None,
        })
    }

    /// An object made from a value: for tests, and for answers of writes.
    pub fn of(resource: &Resource, value: Value) -> Object {
        let meta = Meta::of(&value);
        Object {
            key: Key::new(meta.namespace(), meta.name()),
            uid: meta.uid().to_owned(),
            resource_version: meta.resource_version().to_owned(),
            raw: value.to_string().into(),
            resource: Arc::new(resource.clone()),
            value: OnceLock::from(Box::new(value)),
            extract: None,
        }
    }

    /// The same object with `extract` in the place of its bytes, for caches of many objects of which a reader needs little:
    /// [`crate::Cache::reduced`].
    #[must_use]
    pub fn reduced_to(self, extract: impl Any + Send + Sync) -> Object {
        Object { raw: Box::default(), value: OnceLock::new(), extract: Some(Box::new(extract)), ..self }
    }

    /// What it was reduced to.
    pub fn extract<T: Any>(&self) -> Option<&T> {
        self.extract.as_ref()?.downcast_ref()
    }

    /// The bytes as they came, nothing where it was reduced; items of a list come without `kind` and `apiVersion`.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The object parsed, with `kind` and `apiVersion`. The first look parses it, for all.
    pub fn value(&self) -> &Value {
        self.value.get_or_init(|| {
            let mut value: Value = serde_json::from_str(&self.raw).unwrap_or_default();
            if let Value::Object(fields) = &mut value {
                for (field, text) in
                    [("apiVersion", self.resource.api_version()), ("kind", self.resource.kind.to_string())]
                {
                    if !fields.contains_key(field) {
                        fields.shift_insert(0, field.to_owned(), text.into());
                    }
                }
            }
            Box::new(value)
        })
    }

    pub fn meta(&self) -> Meta<'_> {
        Meta::of(self.value())
    }

    pub fn resource(&self) -> &Resource {
        &self.resource
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The content may be a secret.
        write!(f, "{} {} at {}", self.resource, self.key, self.resource_version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_lists_get_their_kind() {
        let raw: Box<RawValue> = serde_json::from_str(
            r#"{"metadata":{"name":"a","namespace":"b","uid":"c","resourceVersion":"7"}}"#,
        )
        .unwrap();
        let object = Object::read(&Arc::new(Resource::REPLICA_SETS), &raw).unwrap();
        assert_eq!(
            (object.key.to_string().as_str(), object.uid.as_str(), object.resource_version.as_str()),
            ("b/a", "c", "7")
        );
        assert_eq!(
            (&object.value()["kind"], &object.value()["apiVersion"]),
            (&"ReplicaSet".into(), &"apps/v1".into())
        );
        assert_eq!(object.meta().name(), "a");
        let reduced = object.reduced_to(7_u8);
        assert_eq!((reduced.extract::<u8>(), reduced.extract::<u16>(), reduced.raw()), (Some(&7), None, ""));
        assert_eq!(reduced.key.to_string(), "b/a");
    }
}

//! An object as the caches hold it: its JSON bytes, and the few values that lists and watches select by.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use api::kind::{Kind, Selectable};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use store::{Record, Revision};

use crate::answer::Row;
use crate::conversion::Forms;
use crate::encryption::Keyring;
use crate::envelope::{self, EnvelopeError};

/// One version of one object, shared by every list and watch that shows it.
#[derive(Debug)]
pub struct Object {
    /// `namespace/name`, or `name` at cluster scope.
    pub key: Arc<str>,
    /// The revision that wrote it; of a deleted object, the revision of the deletion.
    pub revision: Revision,
    /// The whole object, resourceVersion included, in its storage version.
    pub json: Bytes,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Selectable fields by their path in the stored form.
    pub fields: Vec<(Cow<'static, str>, String)>,
    /// Its row in tables, once somebody has asked for one.
    pub row: OnceLock<Option<Box<Row>>>,
    /// Its forms in other versions, where a webhook makes them.
    pub forms: Forms,
    /// Its bytes in a protobuf list of a kind, once it was in one.
    pub listed: OnceLock<(&'static Kind, usize)>,
}

#[derive(Deserialize)]
struct Projection {
    metadata: ProjectedMeta,
}

#[derive(Deserialize)]
struct ProjectedMeta {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Object {
    /// The object in a record of the store, with the fields that may be selected by.
    pub fn open(
        prefix: usize,
        record: &Record,
        wanted: &[Selectable],
        keys: &Keyring,
    ) -> Result<Object, EnvelopeError> {
        Object::open_as(prefix, record, record.modified, wanted, keys)
    }

    /// The same, shown with another revision: an object as it was when it was deleted.
    pub fn open_as(
        prefix: usize,
        record: &Record,
        revision: Revision,
        wanted: &[Selectable],
        keys: &Keyring,
    ) -> Result<Object, EnvelopeError> {
        let json = envelope::open(&record.value, revision, keys, &record.key)?;
        let damaged = |error: serde_json::Error| EnvelopeError::Damaged(error.to_string());
        let projection: Projection = serde_json::from_slice(&json).map_err(damaged)?;
        let fields = fields(&json, wanted).map_err(damaged)?;
        let key = String::from_utf8_lossy(record.key.get(prefix..).unwrap_or_default()).into();
        let labels = projection.metadata.labels.unwrap_or_default();
        Ok(Object {
            key,
            revision,
            json,
            labels,
            fields,
            row: OnceLock::new(),
            listed: OnceLock::new(),
            forms: Forms::default(),
        })
    }

    /// The same object in another form.
    pub fn in_form(&self, value: &Value, kind: &'static Kind) -> Result<Object, serde_json::Error> {
        let json = Bytes::from(value.to_string());
        let projection: Projection = serde_json::from_slice(&json)?;
        let (key, fields) = (self.key.clone(), fields(&json, &selectable(&[kind]))?);
        let labels = projection.metadata.labels.unwrap_or_default();
        let (row, listed, forms) = (OnceLock::new(), OnceLock::new(), Forms::default());
        Ok(Object { key, revision: self.revision, json, labels, fields, row, listed, forms })
    }

    /// An object that no store has.
    #[cfg(test)]
    pub fn for_tests(key: &str, value: &Value) -> Object {
        let (labels, fields) = (BTreeMap::new(), Vec::new());
        let json = Bytes::from(value.to_string());
        let (row, listed, forms) = (OnceLock::new(), OnceLock::new(), Forms::default());
        Object { key: key.into(), revision: Revision(7), json, labels, fields, row, listed, forms }
    }

    /// The namespace, empty at cluster scope.
    pub fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.key.split_once('/').map_or(&self.key, |(_, name)| name)
    }

    /// The object parsed.
    pub fn value(&self) -> Value {
        // It was parsed when it was opened.
        serde_json::from_slice(&self.json).unwrap_or_default()
    }

    /// A selectable field by its path.
    pub fn field(&self, path: &str) -> &str {
        self.fields.iter().find(|(known, _)| *known == path).map_or("", |(_, value)| value)
    }
}

/// What objects of these kinds may be selected by, beyond name and namespace, each path once.
pub fn selectable(kinds: &[&'static Kind]) -> Vec<Selectable> {
    let mut wanted: Vec<Selectable> = Vec::new();
    for kind in kinds {
        for one in kind.selectable().iter().filter(|one| !one.path.starts_with("metadata.")) {
            if !wanted.iter().any(|known| known.path == one.path) {
                wanted.push(one.clone());
            }
        }
    }
    wanted
}

/// The selectable values. Kinds without any are not parsed for them.
fn fields(
    json: &Bytes,
    wanted: &[Selectable],
) -> Result<Vec<(Cow<'static, str>, String)>, serde_json::Error> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let object: Value = serde_json::from_slice(json)?;
    Ok(wanted.iter().map(|one| (one.path.clone(), one.value(&object).into_owned())).collect())
}

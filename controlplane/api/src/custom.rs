//! Custom resources: the row that a CustomResourceDefinition makes at run time, and what its objects must be.
//!
//! ```text
//!   definition (JSON, shared with the cache) ─► Row per served version ─► interned Kind ─► Slot ─► Custom ─► parsed at first use
//! ```
//!
//! A [`Kind`] is `'static`, so what its objects are found by is kept for ever, once per distinct row, and the rows of a process
//! are bounded. All else, names that may change and the schema, lies in the row's [`Slot`] and goes when the definition
//! changes: editing one makes nothing grow. What nobody uses is never parsed, so a thousand definitions are cheap.
//!
//! Not here: whether a definition is valid (`definition`), asking a webhook to convert (the API server's).

mod jsonpath;
mod row;

pub use jsonpath::JsonPath;
pub use row::{Interner, Names, rows};

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use serde_json::Value;

use crate::field::{FieldError, Path};
use crate::schema::{self, TypeError, canonical};
use crate::structural::{self, Structural};

/// Unknown fields that are told of one object.
const ISSUES_MAX: usize = 100;

/// Where a row finds what its objects must be now.
#[derive(Debug, Default)]
pub struct Slot(RwLock<Option<Arc<Custom>>>);

impl Slot {
    /// What the latest definition says.
    pub fn get(&self) -> Option<Arc<Custom>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes another definition, or none.
    pub fn set(&self, custom: Option<Arc<Custom>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = custom;
    }
}

/// One version of a custom resource.
#[derive(Debug)]
pub struct Custom {
    /// The whole definition, as it is stored.
    definition: Bytes,
    version: String,
    names: Names,
    digest: OnceLock<Box<[u8]>>,
    parsed: OnceLock<Parsed>,
    /// The version that objects are stored in, where it is another one and somebody converts to it.
    stored: OnceLock<Arc<Custom>>,
}

#[derive(Debug, Default)]
struct Parsed {
    schema: Structural,
    columns: Vec<PrinterColumn>,
    scale: Option<ScalePaths>,
    conversion: Option<Conversion>,
    deprecation: Option<String>,
    /// Objects lie in the store in this version alone.
    only_version: bool,
    terminating: bool,
    /// All versions that the definition has, served or not.
    versions: Vec<String>,
}

/// An additional printer column.
#[derive(Debug)]
pub struct PrinterColumn {
    pub name: String,
    pub of: String,
    pub format: String,
    pub description: String,
    pub priority: i64,
    pub path: JsonPath,
}

/// A webhook that turns objects of one version into another's.
#[derive(Debug, Clone)]
pub struct Conversion {
    /// How it is reached.
    pub client: Value,
    /// The first of the versions that it takes of what is taken here; none where there is none.
    pub review: Option<&'static str>,
}

/// Where the scale subresource finds its numbers.
#[derive(Debug, Clone)]
pub struct ScalePaths {
    pub spec_replicas: Vec<String>,
    pub status_replicas: Vec<String>,
    pub selector: Option<Vec<String>>,
}

impl Custom {
    /// A version of a stored definition.
    pub fn new(definition: Bytes, version: &str, names: Names) -> Custom {
        let (digest, parsed, stored) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Custom { definition, version: version.to_owned(), names, digest, parsed, stored }
    }

    fn parsed(&self) -> &Parsed {
        self.parsed.get_or_init(|| {
            let (definition, version) = self.read();
            Parsed::of(&definition, &version)
        })
    }

    fn read(&self) -> (Value, Value) {
        let definition: Value = serde_json::from_slice(&self.definition).unwrap_or_default();
        let versions = definition["spec"]["versions"].as_array();
        let found = versions.into_iter().flatten().find(|one| one["name"] == self.version.as_str()).cloned();
        (definition, found.unwrap_or_default())
    }

    /// What its kind is called, and selected by.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The digest of the definition's bytes, made by `of` the first time.
    pub fn digest(&self, of: impl FnOnce(&[u8]) -> Box<[u8]>) -> &[u8] {
        self.digest.get_or_init(|| of(&self.definition))
    }

    /// The schema's JSON, read anew: for OpenAPI.
    pub fn document(&self) -> Value {
        self.read().1["schema"]["openAPIV3Schema"].clone()
    }

    pub fn schema(&self) -> &Structural {
        &self.parsed().schema
    }

    pub fn columns(&self) -> &[PrinterColumn] {
        &self.parsed().columns
    }

    pub fn scale(&self) -> Option<&ScalePaths> {
        self.parsed().scale.as_ref()
    }

    /// Whether the definition has a version, served or not.
    pub fn has_version(&self, version: &str) -> bool {
        self.parsed().versions.iter().any(|known| known == version)
    }

    /// Who converts between versions; without one they differ in `apiVersion` alone.
    pub fn conversion(&self) -> Option<&Conversion> {
        self.parsed().conversion.as_ref()
    }

    /// What objects must be in the version that they are stored in.
    pub fn stored(&self, version: &str) -> &Custom {
        if self.version == version {
            return self;
        }
        self.stored.get_or_init(|| Arc::new(Custom::new(self.definition.clone(), version, Names::default())))
    }

    /// What a webhook has made, without what the schema does not know.
    pub fn pruned(&self, mut object: Value) -> Value {
        structural::prune(&mut object, self.schema(), true);
        object
    }

    /// What a client is told that still uses this version.
    pub fn deprecation(&self) -> Option<&str> {
        self.parsed().deprecation.as_deref()
    }

    /// Fields that the schema does not know, in upstream's words.
    pub fn issues(&self, object: &Value) -> Vec<String> {
        let mut issues = structural::unknown(object, self.schema(), ISSUES_MAX);
        let of = schema::object_meta();
        if let Some(metadata) = object.get("metadata").filter(|metadata| metadata.is_object()) {
            let unknown = schema::unknown_fields(metadata, of);
            issues.extend(unknown.iter().map(|issue| issue.replacen("field \"", "field \"metadata.", 1)));
        }
        issues
    }

    /// The form in which an object is kept: without unknown fields, `metadata` as every object has it.
    ///
    /// # Errors
    /// Where the object is none, or its metadata is of another shape.
    pub fn accept(&self, mut object: Value) -> Result<Value, TypeError> {
        let schema = self.schema();
        structural::prune(&mut object, schema, true);
        let Value::Object(fields) = &mut object else {
            return Err(TypeError("the object provided is not a JSON object".into()));
        };
        let metadata = fields.get_mut("metadata").map(Value::take).unwrap_or_default();
        fields.insert("metadata".into(), canonical(metadata, schema::object_meta())?);
        structural::without_defaulted_nulls(&mut object, schema);
        Ok(object)
    }

    /// Whether its definition is being deleted: nothing new is made then.
    pub fn is_terminating(&self) -> bool {
        self.parsed().terminating
    }

    /// Whether stored objects are shown unchanged: nothing to convert, and no defaults that they might lack.
    pub fn is_plain(&self) -> bool {
        self.parsed().only_version && !self.schema().has_defaults
    }

    /// A stored object in this version.
    pub fn shown(&self, mut object: Value, api_version: &str) -> Value {
        if object["apiVersion"] != api_version {
            structural::prune(&mut object, self.schema(), true);
            object["apiVersion"] = api_version.into();
        }
        self.fill(&mut object);
        object
    }

    /// Fills in defaults.
    pub fn fill(&self, object: &mut Value) {
        structural::fill(object, self.schema());
    }

    /// What is wrong with an object beyond its metadata; `old` is what it was before.
    pub fn check(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let schema = self.schema();
        let mut errors = structural::check(object, schema, old);
        let mut lists = Vec::new();
        structural::check_lists(object, schema, &Path::default(), &mut lists);
        if let Some(old) = old.filter(|_| !lists.is_empty()) {
            let mut before = Vec::new();
            structural::check_lists(old, schema, &Path::default(), &mut before);
            lists.retain(|error| !before.contains(error));
        }
        errors.extend(lists);
        // Rules need values of the shape that they were written for.
        let blocked = |error: &FieldError| {
            use crate::field::ErrorType::{Required, TooLong, TooMany, TypeInvalid};
            matches!(error.kind, Required | TooLong | TooMany | TypeInvalid)
        };
        if !errors.iter().any(blocked) {
            errors.extend(structural::check_rules(object, schema, old));
        }
        errors
    }
}

impl Parsed {
    fn of(definition: &Value, version: &Value) -> Parsed {
        let columns = version["additionalPrinterColumns"].as_array().into_iter().flatten();
        let scale = &version["subresources"]["scale"];
        let path = |name: &str| scale[name].as_str().map(steps);
        Parsed {
            schema: structural::read(&version["schema"]["openAPIV3Schema"]),
            columns: columns.map(PrinterColumn::of).collect(),
            scale: path("specReplicasPath").zip(path("statusReplicasPath")).map(|(spec, status)| {
                ScalePaths {
                    spec_replicas: spec,
                    status_replicas: status,
                    selector: path("labelSelectorPath"),
                }
            }),
            conversion: Conversion::of(&definition["spec"]["conversion"]),
            versions: definition["spec"]["versions"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|version| version["name"].as_str().map(str::to_owned))
                .collect(),
            terminating: definition["metadata"]["deletionTimestamp"].is_string(),
            only_version: definition["status"]["storedVersions"]
                .as_array()
                .is_some_and(|stored| stored.len() == 1 && stored[0] == version["name"]),
            deprecation: (version["deprecated"] == true).then(|| deprecation(definition, version)),
        }
    }
}

impl Conversion {
    fn of(conversion: &Value) -> Option<Conversion> {
        if conversion["strategy"] != "Webhook" {
            return None;
        }
        let webhook = &conversion["webhook"];
        let versions = webhook["conversionReviewVersions"].as_array().into_iter().flatten();
        let review = versions.filter_map(Value::as_str).find_map(|version| match version {
            "v1" => Some("apiextensions.k8s.io/v1"),
            "v1beta1" => Some("apiextensions.k8s.io/v1beta1"),
            _ => None,
        });
        Some(Conversion { client: webhook["clientConfig"].clone(), review })
    }
}

fn deprecation(definition: &Value, version: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match version["deprecationWarning"].as_str() {
        Some(own) => own.to_owned(),
        None => format!(
            "{}/{} {} is deprecated",
            text(&definition["spec"]["group"]),
            text(&version["name"]),
            text(&definition["spec"]["names"]["kind"])
        ),
    }
}

/// `.spec.replicas` as the names in it.
fn steps(path: &str) -> Vec<String> {
    path.trim_start_matches('.').split('.').map(str::to_owned).collect()
}

impl PrinterColumn {
    fn of(column: &Value) -> PrinterColumn {
        let text = |name: &str| column[name].as_str().unwrap_or_default().to_owned();
        PrinterColumn {
            name: text("name"),
            of: text("type"),
            format: text("format"),
            description: text("description"),
            priority: column["priority"].as_i64().unwrap_or(0),
            path: JsonPath::parse(column["jsonPath"].as_str().unwrap_or_default()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests;

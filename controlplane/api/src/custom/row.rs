//! From a definition to the rows of its served versions.

use std::collections::HashMap;

use serde_json::Value;

use super::Slot;
use crate::kind::{EVERY_VERB, Kind, STATUS_VERBS, Selectable, Storage, Subresource};

/// What a row says, in strings of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    group: String,
    version: String,
    storage_version: String,
    kind: String,
    list_kind: String,
    resource: String,
    singular: String,
    short_names: Vec<String>,
    categories: Vec<String>,
    namespaced: bool,
    status: bool,
    scale: bool,
    selectable: Vec<String>,
}

impl Row {
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// The rows of a definition's served versions, under the names that were accepted, preferred version first.
pub fn rows(definition: &Value) -> Vec<Row> {
    let spec = &definition["spec"];
    let names = &definition["status"]["acceptedNames"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let versions = || spec["versions"].as_array().into_iter().flatten();
    let storage = versions().find(|version| version["storage"] == true);
    let mut rows: Vec<Row> = versions()
        .filter(|version| version["served"] == true)
        .map(|version| Row {
            group: text(&spec["group"]),
            version: text(&version["name"]),
            storage_version: storage.map(|version| text(&version["name"])).unwrap_or_default(),
            kind: text(&names["kind"]),
            list_kind: text(&names["listKind"]),
            resource: text(&names["plural"]),
            singular: text(&names["singular"]),
            short_names: texts(&names["shortNames"]),
            categories: texts(&names["categories"]),
            namespaced: spec["scope"] == "Namespaced",
            status: !version["subresources"]["status"].is_null(),
            scale: !version["subresources"]["scale"].is_null(),
            selectable: version["selectableFields"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|field| text(&field["jsonPath"]).trim_start_matches('.').to_owned())
                .collect(),
        })
        .collect();
    rows.sort_by(|a, b| crate::kind::version_order(&a.version, &b.version));
    rows
}

/// Turns rows into kinds, the same row always into the same kind.
#[derive(Debug, Default)]
pub struct Interner {
    known: HashMap<Row, &'static Kind>,
}

impl Interner {
    /// The kind of a row.
    pub fn kind(&mut self, row: Row) -> &'static Kind {
        if let Some(kind) = self.known.get(&row) {
            return kind;
        }
        let kind: &'static Kind = Box::leak(Box::new(made(&row)));
        self.known.insert(row, kind);
        kind
    }
}

fn kept(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

fn all_kept(texts: &[String]) -> &'static [&'static str] {
    Box::leak(texts.iter().map(|text| kept(text)).collect::<Vec<_>>().into_boxed_slice())
}

fn made(row: &Row) -> Kind {
    let (group, version, kind) = (kept(&row.group), kept(&row.version), kept(&row.kind));
    let resource = kept(&row.resource);
    let reversed: Vec<&str> = row.group.rsplit('.').collect();
    let schema = kept(&format!("{}.{}.{}", reversed.join("."), row.version, row.kind));
    let mut subresources = Vec::new();
    let own =
        Subresource { name: "status", group, version, kind, verbs: STATUS_VERBS, schema, connects: false };
    if row.scale {
        subresources.push(Subresource {
            name: "scale",
            group: "autoscaling",
            version: "v1",
            kind: "Scale",
            schema: "io.k8s.api.autoscaling.v1.Scale",
            ..own
        });
    }
    if row.status {
        subresources.push(own);
    }
    let names = ["metadata.name", "metadata.namespace"].map(str::to_owned);
    let labels = names.iter().chain(&row.selectable).map(|path| {
        let path = kept(path);
        Selectable { label: path, path, absent: "" }
    });
    let selectable: Vec<Selectable> = if row.selectable.is_empty() { Vec::new() } else { labels.collect() };
    let storage_version = kept(&row.storage_version);
    Kind {
        group,
        version,
        kind,
        list_kind: kept(&row.list_kind),
        resource,
        singular: kept(&row.singular),
        short_names: all_kept(&row.short_names),
        categories: all_kept(&row.categories),
        namespaced: row.namespaced,
        verbs: EVERY_VERB,
        subresources: Box::leak(subresources.into_boxed_slice()),
        storage: Some(Storage { group, version: storage_version, kind, resource }),
        selectable: Box::leak(selectable.into_boxed_slice()),
        schema,
        custom: Some(Box::leak(Box::new(Slot::default()))),
    }
}

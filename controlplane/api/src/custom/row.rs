//! From a definition to the rows of its served versions.

use std::collections::HashMap;

use serde_json::Value;

use super::Slot;
use crate::kind::{EVERY_VERB, Kind, STATUS_VERBS, Selectable, Storage, Subresource};

/// Rows that one process makes at most, each of some 700 bytes: they cannot be given back.
const MOST_ROWS: usize = 65_536;

/// What a row says, in strings of its own: that by which its objects are found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    group: String,
    version: String,
    storage_version: String,
    kind: String,
    resource: String,
    namespaced: bool,
    status: bool,
    scale: bool,
}

/// What a definition may say otherwise while its objects stay.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub list_kind: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    /// With those of metadata, where there are others.
    pub selectable: Vec<Selectable>,
}

impl Row {
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// The rows of a definition's served versions, under the names that were accepted, preferred version first; and what else is
/// accepted of each.
pub fn rows(definition: &Value) -> Vec<(Row, Names)> {
    let spec = &definition["spec"];
    let names = &definition["status"]["acceptedNames"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let versions = || spec["versions"].as_array().into_iter().flatten();
    let storage = versions().find(|version| version["storage"] == true);
    let mut rows: Vec<(Row, Names)> = versions()
        .filter(|version| version["served"] == true)
        .map(|version| {
            let row = Row {
                group: text(&spec["group"]),
                version: text(&version["name"]),
                storage_version: storage.map(|version| text(&version["name"])).unwrap_or_default(),
                kind: text(&names["kind"]),
                resource: text(&names["plural"]),
                namespaced: spec["scope"] == "Namespaced",
                status: !version["subresources"]["status"].is_null(),
                scale: !version["subresources"]["scale"].is_null(),
            };
            let names = Names {
                list_kind: text(&names["listKind"]),
                singular: text(&names["singular"]),
                short_names: texts(&names["shortNames"]),
                categories: texts(&names["categories"]),
                selectable: selectable(&version["selectableFields"]),
            };
            (row, names)
        })
        .collect();
    rows.sort_by(|(a, _), (b, _)| crate::kind::version_order(&a.version, &b.version));
    rows
}

fn selectable(fields: &Value) -> Vec<Selectable> {
    let paths: Vec<String> = fields
        .as_array()
        .into_iter()
        .flatten()
        .map(|field| field["jsonPath"].as_str().unwrap_or_default().trim_start_matches('.').to_owned())
        .collect();
    let metadata = ["metadata.name", "metadata.namespace"].map(str::to_owned);
    let all = if paths.is_empty() { Vec::new() } else { [metadata.to_vec(), paths].concat() };
    all.into_iter()
        .map(|path| Selectable { label: path.clone().into(), path: path.into(), absent: "" })
        .collect()
}

/// Turns rows into kinds, the same row always into the same kind.
#[derive(Debug, Default)]
pub struct Interner {
    known: HashMap<Row, &'static Kind>,
}

impl Interner {
    /// The kind of a row; none where this process has made as many as it may.
    pub fn kind(&mut self, row: Row) -> Option<&'static Kind> {
        if let Some(kind) = self.known.get(&row) {
            return Some(kind);
        }
        if self.known.len() >= MOST_ROWS {
            return None;
        }
        let kind: &'static Kind = Box::leak(Box::new(made(&row)));
        self.known.insert(row, kind);
        Some(kind)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

fn kept(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
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
    let storage_version = kept(&row.storage_version);
    Kind {
        group,
        version,
        kind,
        list_kind: "",
        resource,
        singular: "",
        short_names: &[],
        categories: &[],
        namespaced: row.namespaced,
        verbs: EVERY_VERB,
        subresources: Box::leak(subresources.into_boxed_slice()),
        storage: Some(Storage { group, version: storage_version, kind, resource }),
        selectable: &[],
        schema,
        custom: Some(Box::leak(Box::new(Slot::default()))),
    }
}

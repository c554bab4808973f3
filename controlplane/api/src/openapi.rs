//! OpenAPI documents, made from the kind and schema tables: v3 per group version with its index, and v2 in one piece.
//!
//! Not served here, and not hashed here: the index takes the hash function, because L0 has no cryptography.
//! Documents are big; make them once and keep the bytes.
//!
//! Reference: kubectl uses v3 for `explain`, `apply` (merge keys) and for finding out whether `fieldValidation` and
//! `dryRun` are known (parameters of PATCH operations).

mod paths;
mod schemas;
pub mod swagger;

use serde_json::{Map, Value, json};

use crate::kind::{Registry, api_version};

/// What the documents say of themselves.
const TITLE: &str = "Kubernetes";

/// One document of the v3 index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// `api/v1` or `apis/apps/v1`.
    pub path: String,
    pub group: &'static str,
    pub version: &'static str,
}

/// Every v3 document there is.
pub fn documents(registry: &Registry) -> Vec<Document> {
    let mut out = Vec::new();
    for group in registry.groups() {
        for version in registry.versions(group) {
            let path =
                if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
            out.push(Document { path, group, version });
        }
    }
    out
}

/// The v3 document of a path.
pub fn document(registry: &Registry, path: &str) -> Option<Document> {
    let (group, version) = match path.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => ("", *version),
        ["apis", group, version] if !group.is_empty() => (*group, *version),
        _ => return None,
    };
    let kind = registry.of_version(group, version).next()?;
    Some(Document { path: path.to_owned(), group: kind.group, version: kind.version })
}

/// `/openapi/v3`: `hashes` gives the hash of each document, in upper-case hex of SHA-512 as upstream.
pub fn index(documents: &[Document], mut hash: impl FnMut(&Document) -> String) -> Value {
    let mut paths = Map::new();
    for document in documents {
        let url = format!("/openapi/v3/{}?hash={}", document.path, hash(document));
        paths.insert(document.path.clone(), json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

/// `/openapi/v3/{path}`. `release` is the server's version, e.g. `v1.36.0`.
pub fn v3(registry: &Registry, group: &str, version: &str, release: &str) -> Option<Value> {
    let kinds: Vec<_> = registry.of_version(group, version).collect();
    if kinds.is_empty() {
        return None;
    }
    let style = schemas::Style { prefix: "#/components/schemas/", v3: true };
    let schemas = schemas::of_kinds(&kinds, style);
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": TITLE, "version": release},
        "paths": paths::of_kinds(&kinds, style),
        "components": {
            "schemas": schemas,
            "securitySchemes": {"BearerToken": {
                "type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"}},
        },
    }))
}

/// `/openapi/v2`, for older clients; [`swagger::encode`] makes protobuf of it.
pub fn v2(registry: &Registry, release: &str) -> Value {
    let kinds: Vec<_> = registry.kinds().collect();
    let style = schemas::Style { prefix: "#/definitions/", v3: false };
    json!({
        "swagger": "2.0",
        "info": {"title": TITLE, "version": release},
        "paths": paths::of_kinds(&kinds, style),
        "definitions": schemas::of_kinds(&kinds, style),
    })
}

/// `/apis/apps/v1` or `/api/v1`.
fn base_path(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{}", api_version(group, version))
    }
}

#[cfg(test)]
mod tests;

//! OpenAPI v3 per group version, found by the hash of its content, and v2.
//!
//! Documents of built-in kinds are made at the first request and kept. Those of custom resources are made when they are
//! asked for and not kept: there may be thousands, and clients keep them by their hash.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use api::kind::Registry;
use api::openapi::{self, Document};
use api::status::Status;
use aws_lc_rs::digest::{Context, SHA512, digest};
use bytes::Bytes;
use serde_json::Value;

use super::{VERSION, tagged};
use crate::aggregation::{Routes, merge_index, merge_swagger};
use crate::answer::Answer;
use crate::api_server::ApiServer;
use crate::kinds::Kinds;
use crate::request::Request;

const JSON: &str = "application/json";

/// The documents as they are sent.
#[derive(Debug, Default)]
pub struct Published {
    builtin: OnceLock<Builtin>,
    /// The index, and of which generation of the kinds it is.
    index: Mutex<Option<(u64, Bytes)>>,
}

#[derive(Debug)]
struct Builtin {
    /// Path below `/openapi/v3/`, hash and document.
    v3: Vec<(String, String, Bytes)>,
    v2: Bytes,
    v2_hash: String,
}

impl Builtin {
    fn new() -> Builtin {
        let registry = Registry::builtin();
        let made = openapi::documents(&registry).into_iter().filter_map(|document| {
            let content = openapi::v3(&registry, document.group, document.version, VERSION.2)?;
            let bytes = Bytes::from(content.to_string());
            Some((document.path, hex::encode_upper(digest(&SHA512, &bytes)), bytes))
        });
        let v2 = Bytes::from(openapi::v2(&registry, VERSION.2).to_string());
        let v2_hash = hex::encode_upper(digest(&SHA512, &v2));
        Builtin { v3: made.collect(), v2, v2_hash }
    }
}

impl Published {
    fn builtin(&self) -> &Builtin {
        self.builtin.get_or_init(Builtin::new)
    }

    fn index(&self, kinds: &Kinds) -> Bytes {
        let generation = kinds.generation();
        let mut kept = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((of, bytes)) if *of == generation => bytes.clone(),
            _ => {
                let registry = kinds.current();
                let hash = |document: &Document| self.hash(&registry, document);
                let index = Bytes::from(openapi::index(&openapi::documents(&registry), hash).to_string());
                *kept = Some((generation, index.clone()));
                index
            }
        }
    }

    /// Of a custom group version the hash of its definitions: the document is made of nothing else.
    fn hash(&self, registry: &Arc<Registry>, document: &Document) -> String {
        let custom =
            || registry.of_version(document.group, document.version).filter_map(|kind| kind.custom());
        if custom().next().is_none() {
            let found = self.builtin().v3.iter().find(|(path, ..)| *path == document.path);
            return found.map(|(_, hash, _)| hash.clone()).unwrap_or_default();
        }
        let mut context = Context::new(&SHA512);
        for custom in custom() {
            context.update(custom.definition());
        }
        hex::encode_upper(context.finish())
    }

    fn v3(&self, registry: &Registry, document: &Document) -> Bytes {
        if registry.of_version(document.group, document.version).any(|kind| kind.is_custom()) {
            let content = openapi::v3(registry, document.group, document.version, VERSION.2);
            return content.unwrap_or_default().to_string().into();
        }
        let known = self.builtin().v3.iter().find(|(path, ..)| *path == document.path);
        known.map(|(_, _, bytes)| bytes.clone()).unwrap_or_default()
    }

    /// Of custom kinds again their definitions' hash: the rest is built in.
    fn v2_hash(&self, registry: &Registry) -> String {
        let mut custom = registry.kinds().filter_map(|kind| kind.custom()).peekable();
        if custom.peek().is_none() {
            return self.builtin().v2_hash.clone();
        }
        let mut context = Context::new(&SHA512);
        context.update(self.builtin().v2_hash.as_bytes());
        custom.for_each(|custom| context.update(custom.definition()));
        hex::encode_upper(context.finish())
    }

    fn v2(&self, registry: &Registry) -> Bytes {
        if registry.kinds().any(|kind| kind.is_custom()) {
            return openapi::v2(registry, VERSION.2).to_string().into();
        }
        self.builtin().v2.clone()
    }
}

/// A document with what aggregated servers have of it.
fn with_others(api: &ApiServer, own: Bytes, merge: fn(&Routes, &mut Value)) -> Bytes {
    let routes = api.aggregation.routes();
    if routes.is_empty() {
        return own;
    }
    // It was written here a moment ago.
    let Ok(mut document) = serde_json::from_slice::<Value>(&own) else { return own };
    merge(&routes, &mut document);
    document.to_string().into()
}

fn hash_of(bytes: &[u8]) -> String {
    hex::encode_upper(digest(&SHA512, bytes))
}

pub(super) fn answer(api: &ApiServer, request: &Request, words: &[&str]) -> Result<Answer, Status> {
    let (published, kinds) = (&api.specifications, &api.server.registry);
    tagged::takes_json(request)?;
    let response = match words {
        ["openapi", "v3"] => {
            let index = with_others(api, published.index(kinds), merge_index);
            tagged::tagged(request, JSON, &hash_of(&index), || index)
        }
        ["openapi", "v3", rest @ ..] => {
            let (registry, path) = (kinds.current(), rest.join("/"));
            let documents = openapi::documents(&registry);
            let document = documents.iter().find(|document| document.path == path);
            let document = document.ok_or_else(Status::no_such_path)?;
            let hash = published.hash(&registry, document);
            let address = format!("/openapi/v3/{path}");
            tagged::hashed(request, &address, &hash, || published.v3(&registry, document))
        }
        ["openapi", "v2"] if api.aggregation.routes().is_empty() => {
            let registry = kinds.current();
            let hash = published.v2_hash(&registry);
            tagged::tagged(request, JSON, &hash, || published.v2(&registry))
        }
        ["openapi", "v2"] => {
            let whole = with_others(api, published.v2(&kinds.current()), merge_swagger);
            tagged::tagged(request, JSON, &hash_of(&whole), || whole)
        }
        _ => return Err(Status::no_such_path()),
    };
    Ok(tagged::answer(response))
}

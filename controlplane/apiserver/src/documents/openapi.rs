//! OpenAPI v3 per group version, found by the hash of its content. Version 2 is `swagger`'s.
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

use super::swagger::{self, Swagger};
use super::{VERSION, tagged};
use crate::aggregation::{Routes, merge_index};
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
    /// Version 2.
    pub(super) swagger: Swagger,
}

#[derive(Debug)]
struct Builtin {
    /// Path below `/openapi/v3/`, hash and document.
    v3: Vec<(String, String, Bytes)>,
}

impl Builtin {
    fn new() -> Builtin {
        let registry = Registry::builtin();
        let made = openapi::documents(&registry).into_iter().filter_map(|document| {
            let content = openapi::v3(&registry, document.group, document.version, VERSION.2)?;
            let bytes = Bytes::from(content.to_string());
            Some((document.path, hex::encode_upper(digest(&SHA512, &bytes)), bytes))
        });
        Builtin { v3: made.collect() }
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
            // Once for each: an index is asked for after every change of one of a thousand.
            context.update(custom.digest(|bytes| digest(&SHA512, bytes).as_ref().into()));
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

pub(super) async fn answer(api: &ApiServer, request: &Request, words: &[&str]) -> Result<Answer, Status> {
    let (published, kinds) = (&api.specifications, &api.server.registry);
    if let ["openapi", "v2"] = words {
        return swagger::answer(api, request).await.map(tagged::answer);
    }
    tagged::takes_json(request)?;
    let response = match words {
        ["openapi", "v3"] => {
            let index = with_others(api, published.index(kinds), merge_index);
            tagged::tagged(request, JSON, &hash_of(&index), || index)
        }
        ["openapi", "v3", rest @ ..] => {
            let (registry, path) = (kinds.current(), rest.join("/"));
            let document = openapi::document(&registry, &path).ok_or_else(Status::no_such_path)?;
            let hash = published.hash(&registry, &document);
            let address = format!("/openapi/v3/{path}");
            tagged::hashed(request, &address, &hash, || published.v3(&registry, &document))
        }
        _ => return Err(Status::no_such_path()),
    };
    Ok(tagged::answer(response))
}

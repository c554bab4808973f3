//! OpenAPI v3 per group version, found by the hash of its content, and v2. Made at the first request and kept.

use api::kind::Registry;
use api::openapi::{self, Document};
use api::status::Status;
use aws_lc_rs::digest::{SHA512, digest};
use bytes::Bytes;

use super::VERSION;
use crate::answer::Answer;
use crate::api_server::ApiServer;

/// The documents as they are sent.
#[derive(Debug)]
pub struct Specifications {
    index: Bytes,
    /// Path below `/openapi/v3/` and document.
    v3: Vec<(String, Bytes)>,
    v2: Bytes,
}

impl Specifications {
    /// Makes all documents of the served kinds.
    pub fn of(registry: &Registry) -> Specifications {
        let mut v3 = Vec::new();
        for document in openapi::documents(registry) {
            if let Some(content) = openapi::v3(registry, document.group, document.version, VERSION.2) {
                v3.push((path(&document), Bytes::from(content.to_string())));
            }
        }
        let hash = |document: &Document| {
            let bytes = v3.iter().find(|(known, _)| *known == path(document)).map(|(_, bytes)| &bytes[..]);
            hex::encode_upper(digest(&SHA512, bytes.unwrap_or_default()))
        };
        let index = openapi::index(&openapi::documents(registry), hash);
        let v2 = openapi::v2(registry, VERSION.2);
        Specifications { index: index.to_string().into(), v3, v2: v2.to_string().into() }
    }
}

fn path(document: &Document) -> String {
    match document.group {
        "" => format!("api/{}", document.version),
        group => format!("apis/{group}/{}", document.version),
    }
}

pub(super) fn answer(api: &ApiServer, words: &[&str]) -> Result<Answer, Status> {
    let specifications = api.specifications.get_or_init(|| Specifications::of(&api.server.registry));
    let bytes = match words {
        ["openapi", "v3"] => Some(&specifications.index),
        ["openapi", "v3", rest @ ..] => {
            let wanted = rest.join("/");
            specifications.v3.iter().find(|(path, _)| *path == wanted).map(|(_, bytes)| bytes)
        }
        ["openapi", "v2"] => Some(&specifications.v2),
        _ => None,
    };
    let bytes = bytes.ok_or_else(Status::no_such_path)?.clone();
    Ok(Answer::Document { code: 200, content_type: "application/json".into(), bytes })
}

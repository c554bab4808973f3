//! PATCH: JSON patch, merge patch, strategic merge patch; apply has a file of its own.

use std::sync::{Mutex, PoisonError};

use api::kind::Kind;
use api::path::PatchOptions;
use api::status::Status;
use api::wire::{BodyOf, PatchType};
use bytes::Bytes;
use serde_json::Value;

use super::update::change;
use super::{apply, meta};
use crate::answer::{Answer, Shown};
use crate::body;
use crate::request::Request;
use crate::server::Server;

/// Answers a patch.
pub async fn patch(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    body: Bytes,
) -> Result<Answer, Status> {
    let patch_type = PatchType::of_content_type(body::content_type(request))?;
    let options = PatchOptions::parse(&request.query, patch_type == PatchType::Apply)?;
    if patch_type == PatchType::Apply {
        return apply::apply(server, request, kind, &options, &body).await;
    }
    let name = &request.info.name;
    let warnings = Mutex::new(Vec::new());
    let changed = change(server, request, kind, options.dry_run, |old| {
        let patched =
            api::patch::apply(patch_type, old, &body, BodyOf::from(kind), options.field_validation)?;
        same_object(&patched.object, &request.info.namespace, name)?;
        *warnings.lock().unwrap_or_else(PoisonError::into_inner) = patched.warnings;
        Ok(patched.object)
    })
    .await?;
    let warnings = warnings.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Answer::object(200, kind, Shown::Value(changed)).warn(warnings))
}

/// A patch does not make another object of it.
fn same_object(object: &Value, namespace: &str, name: &str) -> Result<(), Status> {
    let (got, place) = (meta::text(object, "name"), meta::text(object, "namespace"));
    let why = if !place.is_empty() && place != namespace {
        "the namespace of the provided object does not match the namespace sent on the request".to_owned()
    } else if got != name {
        format!("the name of the object ({got}) does not match the name on the URL ({name})")
    } else {
        return Ok(());
    };
    Err(Status::bad_request(why))
}

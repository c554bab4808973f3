//! PATCH: JSON patch, merge patch, strategic merge patch; apply has a file of its own.

use std::sync::{Mutex, PoisonError};

use api::kind::Kind;
use api::path::PatchOptions;
use api::status::Status;
use api::wire::{BodyOf, PatchType};
use bytes::Bytes;

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
        if meta::text(&patched.object, "name") != name {
            return Err(Status::bad_request("the name of the object may not be changed by a patch"));
        }
        *warnings.lock().unwrap_or_else(PoisonError::into_inner) = patched.warnings;
        Ok(patched.object)
    })
    .await?;
    let warnings = warnings.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Answer::object(200, kind, Shown::Value(changed)).warn(warnings))
}

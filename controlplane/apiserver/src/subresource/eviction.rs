//! `eviction`: a drain asks a pod to go.
//!
//! No PodDisruptionBudgets are served, so nothing holds an eviction back: it is a delete with the options that it
//! carries.

use api::kind::Kind;
use api::path::{CreateOptions, DeleteOptions};
use api::status::Status;
use bytes::Bytes;

use crate::answer::Answer;
use crate::body;
use crate::registry::delete_one;
use crate::request::Request;
use crate::server::Server;

/// Answers a create of `pods/NAME/eviction`.
pub async fn create(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    body: Bytes,
) -> Result<Answer, Status> {
    let options = CreateOptions::parse(&request.query)?;
    let (eviction, _) = body::object(request, kind, &body, options.field_validation)?;
    let (namespace, name) = (&request.info.namespace, &request.info.name);
    match eviction["metadata"]["name"].as_str().unwrap_or_default() {
        "" => {}
        given if given == name => {}
        _ => return Err(Status::bad_request("name in URL does not match name in Eviction object")),
    }
    let mut delete = DeleteOptions::from_body(&eviction["deleteOptions"])?;
    delete.dry_run |= options.dry_run;
    delete_one(server, request, kind, namespace, name, &delete).await?;
    Ok(Answer::status(Status { code: 201, ..Status::success(None) }))
}

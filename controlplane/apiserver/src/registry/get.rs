//! GET of one object.

use api::kind::Kind;
use api::path::ListOptions;
use api::status::Status;

use super::object_key;
use crate::answer::{Answer, Shown};
use crate::conversion;
use crate::request::Request;
use crate::server::Server;

/// Answers a get, also of a subresource that shows the object itself (`status`).
pub async fn get(server: &Server, request: &Request, kind: &'static Kind) -> Result<Answer, Status> {
    let wanted = ListOptions {
        resource_version: request.query.get("resourceVersion").unwrap_or_default().into(),
        ..Default::default()
    };
    server.fresh(wanted.revision()?).await?;
    let name = &request.info.name;
    let key = object_key(kind, &request.info.namespace, name);
    let cache = server.cache(kind)?;
    let missing = || match cache.unreadable(&key) {
        Some(why) => Status::internal(why),
        None => Status::not_found(kind.qualified_resource(), name),
    };
    let object = cache.get(&key).ok_or_else(missing)?;
    let mut shown = vec![object];
    if !request.form.is_metadata() {
        shown = conversion::shown(server, kind, shown).await?;
    }
    let object = shown.pop().ok_or_else(|| Status::not_found(kind.qualified_resource(), name))?;
    Ok(Answer::object(200, kind, Shown::Cached(object)))
}

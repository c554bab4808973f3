//! DELETE of a collection: each object that the selection shows, by the rules of a single delete.

use api::kind::Kind;
use api::path::ListOptions;
use api::status::Status;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::delete::delete_one;
use super::list::collect;
use super::selection::Selection;
use crate::answer::{Answer, List};
use crate::body;
use crate::request::Request;
use crate::server::Server;

/// Deletions under way at once; they share syncs of the store.
const AT_ONCE: usize = 64;

/// Answers a deletecollection with the list of what it was about.
pub async fn delete_collection(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    body: Bytes,
) -> Result<Answer, Status> {
    let list = ListOptions::parse(&request.query)?;
    let options = body::delete_options(request, &body)?;
    let selection = Selection::new(kind, &request.info, &list)?;
    let found = collect(server, kind, &list, &selection, !selection.is_everything()).await?;
    let options = &options;
    // Owned, because a stream of borrowed items is not provably Send.
    stream::iter(found.objects.clone())
        .map(|object| async move {
            match delete_one(server, request, kind, object.namespace(), object.name(), options).await {
                Err(status) if status.code == 404 => Ok(()),
                other => other.map(drop),
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    let (revision, objects) = (found.revision, found.objects);
    Ok(Answer::List(List { kind, revision, objects, next: None, remaining: None }))
}

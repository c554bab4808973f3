//! CREATE.

use api::kind::Kind;
use api::path::CreateOptions;
use api::status::Status;
use bytes::Bytes;
use serde_json::Value;
use store::Revision;

use super::write::{self, Change};
use super::{meta, object_key, ownership};
use crate::admission::{Operation, addresses};
use crate::answer::{Answer, Shown};
use crate::body;
use crate::conversion;
use crate::request::Request;
use crate::server::Server;
use crate::strategy;

/// How often a generated name that is taken is drawn again, as upstream.
const NAME_TRIES: usize = 8;

/// Answers a create.
pub async fn create(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    body: Bytes,
) -> Result<Answer, Status> {
    let options = CreateOptions::parse(&request.query)?;
    let (object, warnings) = body::object(request, kind, &body, options.field_validation)?;
    let object = create_object(server, request, kind, object, options.dry_run).await?;
    Ok(Answer::object(201, kind, Shown::Value(object)).warn(warnings))
}

/// Creates an object; its owners stay only where an apply has written them.
pub(super) async fn create_object(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    object: Value,
    dry_run: bool,
) -> Result<Value, Status> {
    let generates = meta::text(&object, "name").is_empty() && !meta::text(&object, "generateName").is_empty();
    for _ in 0..NAME_TRIES {
        let object = prepare(server, request, kind, object.clone())?;
        let name = meta::text(&object, "name").to_owned();
        let key = object_key(kind, &request.info.namespace, &name);
        let (shown, stored) = match settle(server, request, kind, object, dry_run).await {
            Ok(settled) => settled,
            Err(refusal) => {
                addresses::give_back(server, kind, &key, &request.mark).await;
                return Err(refusal);
            }
        };
        if dry_run {
            if write::read(server, kind, &key)?.1.is_some() {
                return Err(Status::already_exists(kind.qualified_resource(), &name));
            }
            return Ok(shown);
        }
        // An error may still have written it.
        let written = write::write(server, kind, &key, Revision(0), &Change::Put(stored)).await?;
        if written.is_err() {
            addresses::give_back(server, kind, &key, &request.mark).await;
        }
        match written {
            Ok(revision) => return with_revision(shown, revision),
            Err(found) if generates || found == Revision(0) => {}
            Err(_) => return Err(Status::already_exists(kind.qualified_resource(), &name)),
        }
    }
    let base = meta::text(&object, "generateName");
    if !generates {
        return Err(Status::optimistic_lock(kind.qualified_resource(), meta::text(&object, "name")));
    }
    Err(Status::generate_name_conflict(kind.qualified_resource(), base, 1))
}

/// Admits it, defaults and checks; how it is shown, and how it is stored.
async fn settle(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    object: Value,
    dry_run: bool,
) -> Result<(Value, Value), Status> {
    let object = server.admit(request, kind, Operation::Create, None, object, dry_run).await?;
    let object = finish(kind, object)?;
    let stored = conversion::to_stored(server, kind, object.clone()).await?;
    // Before it is written: a webhook that fails then fails the request, not its answer alone.
    let shown = conversion::as_stored(server, kind, object, stored.clone()).await?;
    Ok((shown, stored))
}

/// Fills in what the server decides: name, namespace, uid, time.
fn prepare(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    mut object: Value,
) -> Result<Value, Status> {
    let namespace = request.info.namespace.clone();
    let metadata = meta::of_mut(&mut object)?;
    if kind.namespaced {
        match metadata.get("namespace").and_then(Value::as_str).unwrap_or_default() {
            "" => drop(metadata.insert("namespace".into(), namespace.into())),
            given if given != namespace => {
                return Err(Status::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            _ => {}
        }
    } else if metadata.get("namespace").and_then(Value::as_str).is_some_and(|given| !given.is_empty()) {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if metadata.get("resourceVersion").and_then(Value::as_str).is_some_and(|given| !matches!(given, "" | "0"))
    {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let base = metadata.get("generateName").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !base.is_empty() && metadata.get("name").and_then(Value::as_str).unwrap_or_default().is_empty() {
        let name = api::names::generate(&base, |below| server.random(below as u64) as usize);
        metadata.insert("name".into(), name.into());
    }
    for gone in ["resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        metadata.remove(gone);
    }
    if !ownership::is_apply(request) {
        metadata.remove("managedFields");
    }
    metadata.insert("uid".into(), server.uid().into());
    metadata.insert("creationTimestamp".into(), meta::time(request.now));
    let fields = object
        .as_object_mut()
        .ok_or_else(|| Status::bad_request("the object provided is not a JSON object"))?;
    fields.insert("kind".into(), kind.kind.into());
    fields.insert("apiVersion".into(), kind.api_version().into());
    strategy::prepare_create(kind, &mut object);
    api::defaulting::apply(kind, &mut object);
    Ok(object)
}

/// Defaults and checks.
fn finish(kind: &'static Kind, mut object: Value) -> Result<Value, Status> {
    api::defaulting::apply(kind, &mut object);
    let errors = api::validation::create(kind, &object);
    if !errors.is_empty() {
        return Err(Status::invalid(kind.qualified_kind(), meta::text(&object, "name"), &errors));
    }
    Ok(object)
}

/// The object as it was written.
pub(super) fn with_revision(mut object: Value, revision: Revision) -> Result<Value, Status> {
    meta::of_mut(&mut object)?.insert("resourceVersion".into(), revision.to_string().into());
    Ok(object)
}

//! UPDATE of an object or its status, and what patches share with it.

use api::kind::Kind;
use api::path::{CreateOptions, Preconditions};
use api::status::{Reason, Status};
use bytes::Bytes;
use serde_json::Value;
use store::Revision;

use super::apply::may_create;
use super::create::{create_object, with_revision};
use super::write::{self, Change, MOST_TRIES};
use super::{meta, object_key, ownership};
use crate::admission::{Operation, addresses};
use crate::answer::{Answer, Shown};
use crate::body;
use crate::conversion;
use crate::request::Request;
use crate::server::Server;
use crate::strategy;

/// Answers an update.
pub async fn update(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    body: Bytes,
) -> Result<Answer, Status> {
    let options = CreateOptions::parse_update(&request.query)?;
    let (object, warnings) = body::object(request, kind, &body, options.field_validation)?;
    let name = &request.info.name;
    match meta::text(&object, "name") {
        "" => {
            return Err(Status::bad_request("name must be provided"));
        }
        given if given != name => {
            return Err(Status::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({name})"
            )));
        }
        _ => {}
    }
    let namespace = meta::text(&object, "namespace");
    if !namespace.is_empty() && namespace != request.info.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let changed = change(server, request, kind, options.dry_run, |_| Ok(object.clone())).await;
    match changed {
        Err(missing)
            if missing.reason == Reason::NotFound
                && strategy::may_begin_by_update(kind, &request.info.subresource) =>
        {
            may_create(server, request, kind, &object)?;
            let made = create_object(server, request, kind, object, options.dry_run).await?;
            Ok(Answer::object(201, kind, Shown::Value(made)).warn(warnings))
        }
        changed => Ok(Answer::object(200, kind, Shown::Value(changed?)).warn(warnings)),
    }
}

/// Changes an object by `desire`, which turns what is there into what shall be. Where that carries a
/// resourceVersion it must be the current one; otherwise the change is tried again on what is newer.
pub async fn change(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    dry_run: bool,
    desire: impl Fn(&Value) -> Result<Value, Status>,
) -> Result<Value, Status> {
    let owners = |old: &Value, new: Value| ownership::track(request, kind, old, new);
    change_owned(server, request, kind, dry_run, desire, owners).await
}

/// The same, where `owners` says who owns the fields of the new form.
pub(super) async fn change_owned(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    dry_run: bool,
    desire: impl Fn(&Value) -> Result<Value, Status>,
    owners: impl Fn(&Value, Value) -> Result<Value, Status>,
) -> Result<Value, Status> {
    let name = &request.info.name;
    let key = object_key(kind, &request.info.namespace, name);
    for _ in 0..MOST_TRIES {
        let changed = match prepare(server, request, kind, dry_run, &desire, &owners).await {
            Ok(changed) => changed,
            Err(refusal) => {
                addresses::give_back(server, kind, &key, &request.mark).await;
                return Err(refusal);
            }
        };
        let Some(change) = changed.change else { return Ok(changed.shown) };
        // Where somebody else was faster, a version that the request insists on is refused at the next turn. An error may
        // still have written it.
        if let Ok(revision) = write::write(server, kind, &key, changed.expected, &change).await? {
            if matches!(change, Change::Delete) {
                addresses::release(server, kind, &changed.old).await;
            }
            return with_revision(changed.shown, revision);
        }
    }
    addresses::give_back(server, kind, &key, &request.mark).await;
    Err(Status::optimistic_lock(kind.qualified_resource(), name))
}

/// A change that nobody refuses.
struct Changed {
    expected: Revision,
    old: Value,
    shown: Value,
    /// Nothing, where all is as it shall be or nothing is to be written.
    change: Option<Change>,
}

/// What becomes of the object that is there now.
async fn prepare(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    dry_run: bool,
    desire: &impl Fn(&Value) -> Result<Value, Status>,
    owners: &impl Fn(&Value, Value) -> Result<Value, Status>,
) -> Result<Changed, Status> {
    let name = &request.info.name;
    let (expected, old) = write::read(server, kind, &object_key(kind, &request.info.namespace, name))?;
    let old = old.ok_or_else(|| Status::not_found(kind.qualified_resource(), name))?;
    let outdated = is_of_older_version(kind, &old);
    let old = conversion::from_stored(server, kind, old).await?;
    let new = desire(&old)?;
    let given = meta::resource_version(&new)?;
    if given != 0 && Revision(given) != expected {
        return Err(Status::optimistic_lock(kind.qualified_resource(), name));
    }
    let uid = Preconditions { uid: Some(meta::text(&new, "uid").to_owned()), ..Preconditions::default() };
    check(kind, name, &uid, &old)?;
    let new = settle(server, request, kind, &old, new, dry_run).await?;
    let new = owners(&old, new)?;
    if new == old && !outdated {
        return Ok(Changed { expected, shown: old.clone(), old, change: None });
    }
    let stored = conversion::to_stored(server, kind, new.clone()).await?;
    let is_released = is_released(&new);
    // Before it is written: a webhook that fails then fails the request, not its answer alone.
    let shown = conversion::as_stored(server, kind, new, stored.clone()).await?;
    let change = if is_released { Change::Delete } else { Change::Put(stored) };
    Ok(Changed { expected, old, shown, change: (!dry_run).then_some(change) })
}

/// Puts back what an update may not touch, admits, defaults and validates.
async fn settle(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    old: &Value,
    mut new: Value,
    dry_run: bool,
) -> Result<Value, Status> {
    let kept = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
        "resourceVersion",
        "namespace",
        "name",
    ];
    let metadata = meta::of_mut(&mut new)?;
    for name in kept {
        match old["metadata"].get(name) {
            Some(value) => drop(metadata.insert(name.into(), value.clone())),
            None => drop(metadata.shift_remove(name)),
        }
    }
    metadata.shift_remove("selfLink");
    let subresource = request.info.subresource.as_str();
    strategy::prepare_update(kind, subresource, &mut new, old);
    let now = meta::time(request.now);
    strategy::note_phase(kind, subresource, &mut new, old, now.as_str().unwrap_or_default());
    api::defaulting::apply(kind, &mut new);
    let new = server.admit(request, kind, Operation::Update, Some(old), new, dry_run).await?;
    let errors = api::validation::update(kind, subresource, &new, old);
    if !errors.is_empty() {
        return Err(Status::invalid(kind.qualified_kind(), meta::text(old, "name"), &errors));
    }
    let mut new = new;
    if subresource != "binding" {
        strategy::bump_generation(kind, &mut new, old);
    }
    Ok(new)
}

/// Whether a custom resource lies in the store in another version than it is written in now: writing it unchanged, which moves
/// it to that one, is a change.
fn is_of_older_version(kind: &Kind, stored: &Value) -> bool {
    kind.is_custom()
        && kind.storage.is_some_and(|storage| {
            stored["apiVersion"] != api::kind::api_version(storage.group, storage.version)
        })
}

/// Whether the last thing that held a deleted object back is gone.
fn is_released(object: &Value) -> bool {
    meta::is_deleting(object)
        && meta::finalizers(object).is_empty()
        && object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && strategy::may_go(object)
}

/// Checks a uid and a resourceVersion that a request insists on.
pub(super) fn check(kind: &Kind, name: &str, wanted: &Preconditions, object: &Value) -> Result<(), Status> {
    let uid = meta::text(object, "uid");
    if let Some(wanted) = wanted.uid.as_deref().filter(|wanted| !wanted.is_empty() && *wanted != uid) {
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}");
        return Err(Status::conflict(kind.qualified_resource(), name, why));
    }
    let revision = meta::text(object, "resourceVersion");
    if let Some(wanted) = wanted.resource_version.as_deref().filter(|wanted| *wanted != revision) {
        let why = format!(
            "Precondition failed: ResourceVersion in precondition: {wanted}, ResourceVersion in object meta: {revision}"
        );
        return Err(Status::conflict(kind.qualified_resource(), name, why));
    }
    Ok(())
}

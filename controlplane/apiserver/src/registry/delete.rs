//! DELETE: at once, after a grace period, or after finalizers.

use api::kind::Kind;
use api::path::{DeleteOptions, Propagation};
use api::status::{Details, Status};
use bytes::Bytes;
use serde_json::{Value, json};

use super::create::with_revision;
use super::update::check;
use super::write::{self, Change, MOST_TRIES};
use super::{meta, object_key};
use crate::admission::{Operation, addresses};
use crate::answer::{Answer, Shown};
use crate::body;
use crate::conversion;
use crate::request::Request;
use crate::server::Server;
use crate::strategy;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// Answers a delete.
pub async fn delete(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    body: Bytes,
) -> Result<Answer, Status> {
    let options = body::delete_options(request, &body)?;
    delete_one(server, request, kind, &request.info.namespace, &request.info.name, &options).await
}

/// Deletes one object by name.
pub async fn delete_one(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<Answer, Status> {
    let key = object_key(kind, namespace, name);
    for _ in 0..MOST_TRIES {
        let (expected, old) = write::read(server, kind, &key)?;
        let old = old.ok_or_else(|| Status::not_found(kind.qualified_resource(), name))?;
        check(kind, name, &options.preconditions, &old)?;
        let seen = conversion::from_stored(server, kind, old.clone()).await?;
        server.admit(request, kind, Operation::Delete, Some(&seen), Value::Null, options.dry_run).await?;
        let step = plan(kind, &old, options, request.now)?;
        // Before it is written: a webhook that fails then fails the request, not its answer alone.
        let shown = match &step {
            Change::Put(object) => conversion::from_stored(server, kind, object.clone()).await?,
            Change::Delete | Change::Nothing => seen,
        };
        if options.dry_run {
            return Ok(answer(kind, shown, &step));
        }
        match write::write(server, kind, &key, expected, &step).await? {
            Ok(revision) => {
                if matches!(step, Change::Delete) {
                    addresses::release(server, kind, &old).await;
                }
                let shown = match &step {
                    Change::Put(_) | Change::Delete => with_revision(shown, revision)?,
                    Change::Nothing => shown,
                };
                return Ok(answer(kind, shown, &step));
            }
            Err(_) if options.preconditions.resource_version.is_some() => {
                return Err(Status::optimistic_lock(kind.qualified_resource(), name));
            }
            Err(_) => {}
        }
    }
    Err(Status::optimistic_lock(kind.qualified_resource(), name))
}

fn answer(kind: &'static Kind, object: Value, step: &Change) -> Answer {
    match step {
        Change::Delete if !strategy::shows_deleted(kind) => {
            let uid = meta::text(&object, "uid").to_owned();
            let name = meta::text(&object, "name").to_owned();
            let details = Details {
                name,
                uid,
                group: kind.group.into(),
                kind: kind.resource.into(),
                ..Details::default()
            };
            Answer::status(Status::success(Some(details)))
        }
        _ => Answer::object(200, kind, Shown::Value(object)),
    }
}

/// What a delete does to the object as it is.
fn plan(kind: &Kind, old: &Value, options: &DeleteOptions, now: jiff::Timestamp) -> Result<Change, Status> {
    let mut new = old.clone();
    let mut finalizers = finalizers_after(old, options);
    finalizers.extend(strategy::cleanup_finalizer(kind, old).map(str::to_owned));
    finalizers.dedup();
    let grace = strategy::grace_seconds(kind, old, options.grace_period_seconds);
    let held = !finalizers.is_empty() || !strategy::may_go(old);
    if grace == 0 && !held {
        return Ok(Change::Delete);
    }
    let metadata = meta::of_mut(&mut new)?;
    if finalizers.is_empty() {
        metadata.shift_remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), json!(finalizers));
    }
    let running = old["metadata"]["deletionGracePeriodSeconds"].as_i64();
    // A deletion under way can only be made shorter.
    let shorter = running.is_none_or(|running| grace < running);
    if !meta::is_deleting(old) || shorter {
        let begun = if meta::is_deleting(old) { begun_at(old).unwrap_or(now) } else { now };
        // A grace beyond the end of time ends there.
        let ends = begun.checked_add(jiff::SignedDuration::from_secs(grace)).unwrap_or(jiff::Timestamp::MAX);
        metadata.insert("deletionTimestamp".into(), meta::time(ends));
        metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
        if let Some(generation) = metadata.get("generation").and_then(Value::as_i64).filter(|n| *n > 0) {
            metadata.insert("generation".into(), (generation + 1).into());
        }
    }
    strategy::mark_terminating(kind, &mut new, meta::time(now).as_str().unwrap_or_default());
    Ok(if new == *old { Change::Nothing } else { Change::Put(new) })
}

/// Deletes an object as its own kind's end does: without admission, in the background.
pub async fn expel(server: &Server, kind: &'static Kind, key: &str) -> Result<(), Status> {
    for _ in 0..MOST_TRIES {
        let (expected, old) = write::read(server, kind, key)?;
        let Some(old) = old else { return Ok(()) };
        let step = plan(kind, &old, &DeleteOptions::default(), server.now())?;
        if write::write(server, kind, key, expected, &step).await?.is_ok() {
            return Ok(());
        }
    }
    Err(Status::optimistic_lock(kind.qualified_resource(), key))
}

/// When a deletion under way began: its end minus its grace.
fn begun_at(object: &Value) -> Option<jiff::Timestamp> {
    let ends: jiff::Timestamp = meta::text(object, "deletionTimestamp").parse().ok()?;
    let grace = object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    ends.checked_sub(jiff::SignedDuration::from_secs(grace)).ok()
}

/// The finalizers with those of the garbage collector as the propagation wants them.
fn finalizers_after(old: &Value, options: &DeleteOptions) -> Vec<String> {
    let mut finalizers: Vec<String> = meta::finalizers(old).into_iter().map(str::to_owned).collect();
    let wanted = match (options.propagation, options.orphan_dependents) {
        (Some(propagation), _) => propagation,
        (None, Some(true)) => Propagation::Orphan,
        (None, Some(false)) => Propagation::Background,
        // What an earlier request put there stays.
        (None, None) => return finalizers,
    };
    finalizers.retain(|finalizer| finalizer != ORPHAN && finalizer != FOREGROUND);
    match wanted {
        Propagation::Orphan => finalizers.push(ORPHAN.into()),
        Propagation::Foreground => finalizers.push(FOREGROUND.into()),
        Propagation::Background => {}
    }
    finalizers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_grace_is_too_long_for_the_clock() {
        let pods = api::kind::Registry::builtin().by_resource("", "v1", "pods").unwrap();
        let now = jiff::Timestamp::UNIX_EPOCH;
        let options = DeleteOptions { grace_period_seconds: Some(i64::MAX), ..DeleteOptions::default() };
        let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n"}});
        let Change::Put(marked) = plan(pods, &pod, &options, now).unwrap() else { panic!("it has grace") };
        let shorter = DeleteOptions { grace_period_seconds: Some(5), ..DeleteOptions::default() };
        let Change::Put(marked) = plan(pods, &marked, &shorter, now).unwrap() else { panic!("it has grace") };
        assert_eq!(marked["metadata"]["deletionTimestamp"], "1970-01-01T00:00:05Z");
    }
}

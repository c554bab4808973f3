//! Server-side apply: who owns which field, and what becomes of an object when one of the owners says what it wants.
//!
//! ```text
//!   live object + configuration ─► merge ─► prune what the applier owned before and nobody wants ─► conflicts? ─► owners
//!   live object + any other write ─► compare ─► the writer owns what it changed, nobody owns what is gone
//! ```
//!
//! Differs from upstream in one thing: an object that was never applied has no owners written down. At its first
//! apply everything that is there goes to the manager [`BEFORE_FIRST_APPLY`], so conflicts are found all the same, and
//! from then on every write is tracked. Objects that nobody applies stay small.
//!
//! Not validation, defaulting or admission of the result, and not conversion itself: [`Versions`] is asked for it.
//!
//! Invariants: a configuration that changes nothing gives back an equal object, times included; a manager without a
//! field is not kept.
//! Reference: API documentation "Server-Side Apply", KEP-555.

mod compare;
mod field_set;
mod managers;
mod merge;
mod place;
mod values;
mod versions;

pub use field_set::FieldSet;
pub use place::Of;
pub use versions::{Alike, Versions};

use serde_json::Value;

use crate::schema;
use crate::status::{Cause, Status};
use managers::{Manager, Managers, Operation};
use place::Place;
use versions::{ByVersion, Written};

/// Owns what was there before the first apply.
pub const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// kubectl's manager: it may take over what it applied from the client's side before.
const KUBECTL: &str = "kubectl";
/// kubectl's manager for what it applies from the client's side.
const CLIENT_SIDE: &str = "kubectl-client-side-apply";
/// The annotation in which kubectl keeps what it applied from the client's side.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Who writes, through which door, when.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    pub manager: &'a str,
    /// `apps/v1`.
    pub api_version: &'a str,
    pub subresource: &'a str,
    /// RFC 3339, whole seconds.
    pub now: &'a str,
    /// Whether the kind's status belongs to the status subresource.
    pub has_status: bool,
}

/// The configuration in the body of an apply: without nulls, its values in canonical form.
///
/// # Errors
/// In upstream's words where it has fields that the type does not know, or values of another type.
pub fn configuration(decoded: Value, of: Of<'_>, what: &str) -> Result<Value, Status> {
    let refuse =
        |why: String| Status::bad_request(format!("failed to create typed patch object ({what}): {why}"));
    let raw = values::without_nulls(decoded);
    if raw["metadata"].get("managedFields").is_some() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let issues = match of {
        Of::Type(kind) => schema::unknown_fields(&raw, kind),
        Of::Custom(custom) => custom.issues(&raw),
    };
    if let Some(issue) = issues.first() {
        let field = issue.trim_start_matches("unknown field ").trim_matches('"').to_owned();
        return Err(refuse(format!(".{field}: field not declared in schema")));
    }
    let full = of.canonical(raw.clone()).map_err(|error| refuse(error.0))?;
    let config = values::restricted(&raw, full);
    place::check_keys(&config, of.place()).map_err(refuse)?;
    Ok(config)
}

/// The object after its owner has applied a configuration; `live` is none where there is no object yet.
///
/// # Errors
/// 409 with one cause per field of somebody else's that the configuration would change, unless `force`.
pub fn apply(
    live: Option<&Value>,
    config: &Value,
    of: Of<'_>,
    writer: Writer<'_>,
    force: bool,
    versions: &dyn Versions,
) -> Result<Value, Status> {
    let (root, write) = (of.place(), Written { of, writer, versions });
    let mut managers = match live {
        None => Managers::default(),
        Some(live) => Managers::of(live).map_err(Status::internal)?,
    };
    let never_applied = managers.is_empty();
    managers = managers.of_known(|version| versions.is_known(version));
    if let Some(live) = live.filter(|_| never_applied) {
        before_first_apply(live, root, writer).into_iter().for_each(|manager| managers.insert(manager));
    }
    let wanted = without_reset(FieldSet::of(config, root), writer);
    let last = managers.of_writer(Operation::Apply, writer);
    let last = last.map(|last| (last.api_version.clone(), last.set.clone())).unwrap_or_default();
    managers.put(Operation::Apply, writer, wanted);
    let object = match live {
        None => of.canonical(config.clone()).map_err(|error| Status::bad_request(error.0))?,
        Some(live) => {
            let merged = merge::merge(live.clone(), config.clone(), root);
            let pruned = write.pruned(merged, (&last.0, &last.1), &managers);
            // Before zeros are left out: to set a field to nothing is to change it.
            settle(live, &pruned, write, force, &mut managers)?;
            of.canonical(pruned).map_err(|error| Status::bad_request(error.0))?
        }
    };
    Ok(managers.written(object))
}

/// The object with a configuration merged into it; nobody owns anything by that.
///
/// # Errors
/// Where the result is not of the type.
pub fn merge_into(object: &Value, config: &Value, of: Of<'_>) -> Result<Value, Status> {
    let merged = merge::merge(object.clone(), config.clone(), of.place());
    of.canonical(merged).map_err(|error| Status::bad_request(error.0))
}

/// Finds conflicts, or takes the fields where that is asked for; what is gone is nobody's.
fn settle(
    live: &Value,
    merged: &Value,
    write: Written<'_>,
    force: bool,
    managers: &mut Managers,
) -> Result<(), Status> {
    let writer = write.writer;
    let changes = ByVersion::of(live, merged, write, managers, |set| without_reset(set, writer));
    let conflicts = managers.conflicts(&changes, Operation::Apply, writer);
    if !conflicts.is_empty() && !force {
        let sent = || last_applied(live, write.of.place());
        let allowed = if writer.manager == KUBECTL { sent() } else { FieldSet::default() };
        let left: Vec<(&Manager, FieldSet)> = conflicts
            .iter()
            .map(|(manager, set)| (*manager, set.minus(&allowed)))
            .filter(|(_, set)| !set.is_empty())
            .collect();
        if !left.is_empty() {
            return Err(conflict(&left));
        }
    }
    managers.take(&changes, Operation::Apply, writer);
    managers.forget(&changes);
    Ok(())
}

/// Writes down who owns what after a write that was no apply. Objects that were never applied stay as they are.
pub fn track(old: &Value, new: Value, of: Of<'_>, writer: Writer<'_>, versions: &dyn Versions) -> Value {
    let live = || Managers::of(old).unwrap_or_default();
    let mut managers = match new["metadata"].get("managedFields").and_then(Value::as_array) {
        // The one way to say that nobody shall own anything.
        Some(entries)
            if entries.len() == 1 && entries[0].as_object().is_some_and(serde_json::Map::is_empty) =>
        {
            return Managers::default().written(new);
        }
        Some(entries) if !entries.is_empty() && writer.subresource.is_empty() => {
            Managers::of(&new).unwrap_or_else(|_| live())
        }
        _ => live(),
    };
    if managers.is_empty() {
        return Managers::default().written(new);
    }
    managers = managers.of_known(|version| versions.is_known(version));
    let write = Written { of, writer, versions };
    let changes = ByVersion::of(old, &new, write, &managers, without_server_fields);
    let changed = changes.set(writer.api_version);
    if !changed.is_empty() {
        let own = managers.of_writer(Operation::Update, writer);
        let mut own = own.map(|own| own.set.clone()).unwrap_or_default();
        own.add(changed);
        managers.take(&changes, Operation::Update, writer);
        managers.put(Operation::Update, writer, own);
        managers.bound();
    }
    managers.forget(&changes);
    managers.written(new)
}

/// The owners of an object that was never applied: kubectl, of what it applied from the client's side (which it goes
/// on to own when it applies from the server's: no more than that, or it would take defaults away), and nobody in
/// particular.
fn before_first_apply(live: &Value, root: Place<'_>, writer: Writer<'_>) -> [Manager; 2] {
    let main = Writer { subresource: "", ..writer };
    let mut sent = last_applied(live, root);
    if !sent.is_empty() {
        let annotation = ["f:metadata", "f:annotations", &format!("f:{LAST_APPLIED}")].map(str::to_owned);
        sent.insert(&annotation);
    }
    let sent = without_reset(sent, main);
    let rest = without_reset(FieldSet::of(live, root), main).minus(&sent);
    [(CLIENT_SIDE, sent), (BEFORE_FIRST_APPLY, rest)].map(|(name, set)| Manager {
        name: name.to_owned(),
        operation: Operation::Update,
        api_version: writer.api_version.to_owned(),
        subresource: String::new(),
        time: Some(writer.now.to_owned()),
        set,
    })
}

/// What kubectl applied from the client's side.
fn last_applied(live: &Value, root: Place<'_>) -> FieldSet {
    let text = live["metadata"]["annotations"][LAST_APPLIED].as_str();
    let config = text.and_then(|text| serde_json::from_str::<Value>(text).ok());
    config.map(|config| FieldSet::of(&values::without_nulls(config), root)).unwrap_or_default()
}

/// Without what the server decides and what the door does not let through.
fn without_reset(set: FieldSet, writer: Writer<'_>) -> FieldSet {
    let mut set = without_server_fields(set);
    match writer.subresource {
        "" if writer.has_status => set.drop_below(&["f:status"]),
        "status" => {
            set.drop_below(&["f:spec"]);
            set.drop_below(&["f:metadata"]);
        }
        _ => {}
    }
    set
}

fn without_server_fields(mut set: FieldSet) -> FieldSet {
    for name in ["f:apiVersion", "f:kind"] {
        set.drop_below(&[name]);
    }
    for name in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        set.drop_below(&["f:metadata", &format!("f:{name}")]);
    }
    set.drop_here("f:metadata");
    set
}

/// 409 in upstream's words.
fn conflict(conflicts: &[(&Manager, FieldSet)]) -> Status {
    let mut causes = Vec::new();
    let mut parts = Vec::new();
    for (manager, set) in conflicts {
        let who = manager.shown();
        let fields: Vec<String> = set.paths().iter().map(|path| place::shown(path)).collect();
        causes.extend(fields.iter().map(|field| Cause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {who}"),
            field: field.clone(),
        }));
        parts.push((who, fields));
    }
    let message = match &parts[..] {
        [(who, fields)] if fields.len() == 1 => {
            format!("Apply failed with 1 conflict: conflict with {who}: {}", fields[0])
        }
        _ => {
            let each: Vec<String> = parts
                .iter()
                .map(|(who, fields)| format!("conflicts with {who}:\n- {}", fields.join("\n- ")))
                .collect();
            format!("Apply failed with {} conflicts: {}", causes.len(), each.join("\n"))
        }
    };
    Status::apply_conflict(causes, message)
}

#[cfg(test)]
mod tests;

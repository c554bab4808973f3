//! PATCH with an apply configuration: a create where there is nothing, otherwise a merge of owners.

use api::apply::Of;
use api::kind::{Kind, Verb};
use api::path::{FieldValidation, PatchOptions};
use api::status::{Reason, Status};
use api::wire::{doubled_key, patch_body};
use serde_json::Value;

use super::create::create_object;
use super::update::change_owned;
use super::{meta, ownership};
use crate::answer::{Answer, Shown};
use crate::request::Request;
use crate::server::Server;

/// Answers an apply.
pub async fn apply(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    options: &PatchOptions,
    body: &[u8],
) -> Result<Answer, Status> {
    let (config, doubled) = configuration(request, kind, body)?;
    let strict = options.field_validation == FieldValidation::Strict;
    let applied = |live: Option<&Value>| {
        let applied = ownership::with_type(kind, |of| {
            ownership::as_writer(request, kind, |writer| {
                let faces = ownership::Faces { kind };
                api::apply::apply(live, &config, of, writer, options.force, &faces)
            })
        })??;
        // Behind the merge, which says more of what is wrong.
        match &doubled {
            Some(why) if strict => Err(Status::bad_request(format!("error strict decoding YAML: {why}"))),
            _ => Ok(applied),
        }
    };
    let warnings = match options.field_validation {
        FieldValidation::Warn => doubled.clone().into_iter().collect(),
        _ => Vec::new(),
    };
    let answer = |code, object| Answer::object(code, kind, Shown::Value(object)).warn(warnings.clone());
    let changed =
        || change_owned(server, request, kind, options.dry_run, |old| applied(Some(old)), |_, new| Ok(new));
    match changed().await {
        Err(status) if status.reason == Reason::NotFound && request.info.subresource.is_empty() => {}
        outcome => return Ok(answer(200, outcome?)),
    }
    may_create(server, request, kind, &config)?;
    match create_object(server, request, kind, applied(None)?, options.dry_run).await {
        // Somebody else was faster.
        Err(status) if status.reason == Reason::AlreadyExists => Ok(answer(200, changed().await?)),
        created => Ok(answer(201, created?)),
    }
}

/// Applies a configuration that was made from another kind's, to an object that must be there.
pub async fn apply_config(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    options: &PatchOptions,
    config: &Value,
) -> Result<Value, Status> {
    let desire = |old: &Value| {
        ownership::with_type(kind, |of| {
            ownership::as_writer(request, kind, |writer| {
                let faces = ownership::Faces { kind };
                api::apply::apply(Some(old), config, of, writer, options.force, &faces)
            })
        })?
    };
    change_owned(server, request, kind, options.dry_run, desire, |_, new| Ok(new)).await
}

/// The body, which must be about the object of the path, and what it says twice.
fn configuration(
    request: &Request,
    kind: &'static Kind,
    body: &[u8],
) -> Result<(Value, Option<String>), Status> {
    let decoded = patch_body(body, true)?;
    let doubled = if decoded.issues.is_empty() { None } else { doubled_key(body) };
    let info = &request.info;
    let text = |name: &str| decoded.value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, name) = (kind.api_version(), kind.kind);
    if text("apiVersion") != api_version || text("kind") != name {
        return Err(Status::bad_request(format!(
            "the object provided is {}, Kind={}, the path is about {api_version}, Kind={name}",
            text("apiVersion"),
            text("kind"),
        )));
    }
    let what = format!("{}/{}; {api_version}, Kind={name}", info.namespace, info.name);
    let read = |of: Of<'_>| api::apply::configuration(decoded.value, of, &what);
    let mut config = ownership::with_type(kind, read)??;
    match meta::text(&config, "name") {
        "" => drop(meta::of_mut(&mut config)?.insert("name".into(), info.name.as_str().into())),
        given if given != info.name => {
            return Err(Status::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({})",
                info.name
            )));
        }
        _ => {}
    }
    let namespace = meta::text(&config, "namespace");
    if !namespace.is_empty() && namespace != info.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok((config, doubled))
}

/// Who may patch may not therefore create.
/// A write to a name that has no object creates it: who asks must be allowed that too.
pub(super) fn may_create(
    server: &Server,
    request: &Request,
    kind: &Kind,
    config: &Value,
) -> Result<(), Status> {
    let mut info = request.info.clone();
    info.verb = Verb::Create;
    server.authorizer.require(&server.caches, &request.user, &info)?;
    match meta::text(config, "uid") {
        "" => Ok(()),
        uid => {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            Err(Status::conflict(kind.qualified_resource(), &request.info.name, why))
        }
    }
}

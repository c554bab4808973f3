//! `scale`: the replicas of anything that has them, as one kind.
//!
//! Reference: autoscaling/v1 Scale.

use api::custom::ScalePaths;
use api::kind::Kind;
use api::path::{CreateOptions, PatchOptions};
use api::selector::LabelSelector;
use api::status::Status;
use api::wire::{BodyOf, PatchType};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::body;
use crate::conversion;
use crate::registry::{self, change, object_key};
use crate::request::Request;
use crate::server::Server;

/// Answers a get.
pub async fn get(server: &Server, request: &Request, kind: &'static Kind) -> Result<Answer, Status> {
    let name = &request.info.name;
    let (_, object) = registry::read(server, kind, &object_key(kind, &request.info.namespace, name))?;
    let object = object.ok_or_else(|| Status::not_found(kind.qualified_resource(), name))?;
    Ok(answer(kind, &conversion::from_stored(server, kind, object).await?))
}

/// Answers an update.
pub async fn update(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    body: Bytes,
) -> Result<Answer, Status> {
    let options = CreateOptions::parse_update(&request.query)?;
    let (scale, warnings) = body::object(request, kind, &body, options.field_validation)?;
    let desire = |old: &Value| scaled(kind, old, &scale);
    let changed = change(server, request, kind, options.dry_run, desire).await?;
    Ok(answer(kind, &changed).warn(warnings))
}

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
        let config = applied(kind, &request.info.name, &body)?;
        let changed = registry::apply_config(server, request, kind, &options, &config).await?;
        return Ok(answer(kind, &changed));
    }
    let row = kind.subresource("scale").ok_or_else(Status::no_such_path)?;
    let desire = |old: &Value| {
        let wanted = BodyOf::from(row);
        let patched = api::patch::apply(patch_type, &of(kind, old), &body, wanted, options.field_validation)?;
        scaled(kind, old, &patched.object)
    };
    let changed = change(server, request, kind, options.dry_run, desire).await?;
    Ok(answer(kind, &changed))
}

/// An applied Scale as a configuration of what it scales: the replicas alone are owned.
fn applied(kind: &'static Kind, name: &str, body: &[u8]) -> Result<Value, Status> {
    let scale = api::wire::patch_body(body, true)?.value;
    let mut config = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": name}});
    match scale["spec"].get("replicas") {
        Some(replicas) if replicas.as_i64().is_none_or(|replicas| replicas < 0) => {
            let field = api::field::FieldError::invalid(
                "spec.replicas",
                replicas.clone(),
                "must be greater than or equal to 0",
            );
            let kind = api::status::Qualified { group: "autoscaling", name: "Scale" };
            return Err(Status::invalid(kind, name, &[field]));
        }
        Some(replicas) => match kind.custom().and_then(|custom| custom.scale().cloned()) {
            Some(paths) => set_at(&mut config, &paths.spec_replicas, replicas.clone()),
            None => config["spec"] = json!({"replicas": replicas}),
        },
        None => {}
    }
    Ok(config)
}

fn answer(kind: &'static Kind, object: &Value) -> Answer {
    Answer::subobject(200, kind, of(kind, object))
}

/// The scale of an object.
pub(crate) fn of(kind: &Kind, object: &Value) -> Value {
    let meta = &object["metadata"];
    let mut metadata = serde_json::Map::new();
    for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = meta.get(name) {
            metadata.insert(name.into(), value.clone());
        }
    }
    if let Some(paths) = kind.custom().and_then(|custom| custom.scale().cloned()) {
        return custom(&paths, object, metadata.into());
    }
    let selector = match object["spec"].get("selector").and_then(Value::as_object) {
        // A ReplicationController's selector is a map.
        Some(map) if object["kind"] == "ReplicationController" => Ok(LabelSelector::from_map(map)),
        _ => LabelSelector::from_object(object["spec"].get("selector")),
    };
    let mut status = json!({"replicas": object["status"]["replicas"].as_i64().unwrap_or(0)});
    if let Ok(selector) = selector {
        status["selector"] = selector.to_string().into();
    }
    let mut spec = serde_json::Map::new();
    if let Some(replicas) = object["spec"]["replicas"].as_i64().filter(|replicas| *replicas != 0) {
        spec.insert("replicas".into(), replicas.into());
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

/// The scale of a custom resource, whose definition says where its numbers are.
fn custom(paths: &ScalePaths, object: &Value, metadata: Value) -> Value {
    let at = |path: &[String]| path.iter().try_fold(object, |at, name| at.get(name));
    let mut spec = serde_json::Map::new();
    if let Some(replicas) = at(&paths.spec_replicas).and_then(Value::as_i64).filter(|replicas| *replicas != 0)
    {
        spec.insert("replicas".into(), replicas.into());
    }
    let mut status = json!({"replicas": at(&paths.status_replicas).and_then(Value::as_i64).unwrap_or(0)});
    if let Some(selector) = paths.selector.as_deref().and_then(at).and_then(Value::as_str) {
        status["selector"] = selector.into();
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

/// Sets a field that may lie deep.
fn set_at(object: &mut Value, path: &[String], value: Value) {
    let mut at = object;
    for name in path {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[name.as_str()];
    }
    *at = value;
}

/// The replicas that a scale asks for.
pub(crate) fn replicas(scale: &Value) -> Result<i64, Status> {
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    if replicas >= 0 {
        return Ok(replicas);
    }
    let field =
        api::field::FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
    let kind = api::status::Qualified { group: "autoscaling", name: "Scale" };
    Err(Status::invalid(kind, scale["metadata"]["name"].as_str().unwrap_or_default(), &[field]))
}

/// Gives what is scaled its replicas.
pub(crate) fn set_replicas(kind: &Kind, object: &mut Value, replicas: i64) {
    match kind.custom().and_then(|custom| custom.scale().cloned()) {
        Some(paths) => set_at(object, &paths.spec_replicas, replicas.into()),
        None => object["spec"]["replicas"] = replicas.into(),
    }
}

/// The object with the replicas of a scale, and with the resourceVersion that the scale insists on.
fn scaled(kind: &Kind, old: &Value, scale: &Value) -> Result<Value, Status> {
    let mut new = old.clone();
    set_replicas(kind, &mut new, replicas(scale)?);
    // Without one the change is for whatever is there.
    new["metadata"]["resourceVersion"] =
        scale["metadata"]["resourceVersion"].as_str().unwrap_or_default().into();
    if let Some(uid) = scale["metadata"]["uid"].as_str() {
        new["metadata"]["uid"] = uid.into();
    }
    Ok(new)
}

//! `binding`: a scheduler gives a pod its node, once.

use api::field::FieldError;
use api::kind::Kind;
use api::path::CreateOptions;
use api::status::{Qualified, Status};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::body;
use crate::registry::change;
use crate::request::Request;
use crate::server::Server;

/// Answers a create of `pods/NAME/binding`.
pub async fn create(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    body: Bytes,
) -> Result<Answer, Status> {
    let (binding, dry_run) = admitted(server, request, kind, &body).await?;
    carry_out(server, request, kind, &binding, dry_run).await
}

/// Answers a create of `bindings`, which names the pod in its body.
pub async fn create_named(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    body: Bytes,
) -> Result<Answer, Status> {
    let (binding, dry_run) = admitted(server, request, kind, &body).await?;
    let name = binding["metadata"]["name"].as_str().unwrap_or_default();
    let pods = server.registry.by_resource("", "v1", "pods").ok_or_else(Status::no_such_path)?;
    let mut of_pod = request.clone();
    "pods".clone_into(&mut of_pod.info.resource);
    name.clone_into(&mut of_pod.info.name);
    "binding".clone_into(&mut of_pod.info.subresource);
    carry_out(server, &of_pod, pods, &binding, dry_run).await
}

/// The binding that was posted, after admission, and whether nothing is to come of it.
async fn admitted(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    body: &Bytes,
) -> Result<(Value, bool), Status> {
    let options = CreateOptions::parse(&request.query)?;
    let (binding, _) = body::object(request, kind, body, options.field_validation)?;
    let binding = server.admit_posted(request, kind, binding, options.dry_run).await?;
    Ok((binding, options.dry_run))
}

async fn carry_out(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    binding: &Value,
    dry_run: bool,
) -> Result<Answer, Status> {
    let errors = wrong(&binding["target"]);
    if !errors.is_empty() {
        return Err(Status::invalid(Qualified { group: "", name: "Binding" }, &request.info.name, &errors));
    }
    let node = binding["target"]["name"].as_str().unwrap_or_default();
    change(server, request, kind, dry_run, |pod| bound(pod, binding, node, request.now)).await?;
    Ok(Answer::status(Status { code: 201, ..Status::success(None) }))
}

/// What is wrong with a target.
fn wrong(target: &Value) -> Vec<FieldError> {
    let text = |name: &str| target[name].as_str().unwrap_or_default();
    let mut errors = Vec::new();
    if !matches!(text("kind"), "" | "Node") {
        errors.push(FieldError::not_supported("target.kind", text("kind"), &["Node", "<empty>"]));
    }
    if text("name").is_empty() {
        errors.push(FieldError::required("target.name", ""));
    }
    errors
}

/// The pod with its node: not a new generation, nobody asked for anything else.
fn bound(pod: &Value, binding: &Value, node: &str, now: jiff::Timestamp) -> Result<Value, Status> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let conflict = |why: String| Status::conflict(Qualified { group: "", name: "pods/binding" }, name, why);
    if let Some(wanted) = binding["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty()) {
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
        if wanted != uid {
            return Err(conflict(format!(
                "Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}"
            )));
        }
    }
    if pod["metadata"]["deletionTimestamp"].is_string() {
        return Err(conflict(format!("pod {name} is being deleted, cannot be assigned to a host")));
    }
    if let Some(taken) = pod["spec"]["nodeName"].as_str().filter(|taken| !taken.is_empty()) {
        return Err(conflict(format!("pod {name} is already assigned to node {taken:?}")));
    }
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        return Err(conflict(format!("pod {name} has non-empty .spec.schedulingGates")));
    }
    let mut pod = pod.clone();
    pod["spec"]["nodeName"] = node.into();
    for part in ["annotations", "labels"] {
        for (key, value) in binding["metadata"][part].as_object().into_iter().flatten() {
            pod["metadata"][part][key] = value.clone();
        }
    }
    let seconds = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now);
    let condition = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": seconds.to_string(),
        "observedGeneration": pod["metadata"]["generation"]});
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let others = conditions.into_iter().filter(|condition| condition["type"] != "PodScheduled");
    pod["status"]["conditions"] = others.chain([condition]).collect();
    if let Some(status) = pod["status"].as_object_mut() {
        // It has its node; what was promised is nobody's business any more (KEP-5278).
        status.shift_remove("nominatedNodeName");
    }
    Ok(pod)
}

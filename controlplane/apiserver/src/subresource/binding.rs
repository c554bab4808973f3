//! `binding`: a scheduler gives a pod its node, once.

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
    let options = CreateOptions::parse(&request.query)?;
    let (binding, _) = body::object(request, kind, &body, options.field_validation)?;
    let target = &binding["target"];
    let node = target["name"].as_str().unwrap_or_default();
    if node.is_empty() || !matches!(target["kind"].as_str().unwrap_or_default(), "" | "Node") {
        let field = api::field::FieldError::required("target.name", "");
        return Err(Status::invalid(Qualified { group: "", name: "Binding" }, &request.info.name, &[field]));
    }
    change(server, request, kind, options.dry_run, |pod| bound(pod, &binding, node, request.now)).await?;
    Ok(Answer::status(Status { code: 201, ..Status::success(None) }))
}

/// The pod with its node.
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
    for (key, value) in binding["metadata"]["annotations"].as_object().into_iter().flatten() {
        pod["metadata"]["annotations"][key] = value.clone();
    }
    let seconds = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now);
    let condition = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": seconds.to_string()});
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let others = conditions.into_iter().filter(|condition| condition["type"] != "PodScheduled");
    pod["status"]["conditions"] = others.chain([condition]).collect();
    Ok(pod)
}

//! AdmissionReview: what a webhook is asked, and what its answer means. Pure.

use api::kind::Kind;
use api::status::{Reason, Status};
use base64::Engine as _;
use serde_json::{Map, Value, json};

use crate::admission::{Attributes, Operation};

/// The version whose answers must say what they are.
const V1: &str = "admission.k8s.io/v1";
const V1BETA1: &str = "admission.k8s.io/v1beta1";

/// The first of the versions that a webhook takes of those that are spoken here.
pub(super) fn version(hook: &Value) -> &'static str {
    let versions = hook["admissionReviewVersions"].as_array().into_iter().flatten();
    let known = versions.filter_map(Value::as_str).find_map(|version| match version {
        "v1" => Some(V1),
        "v1beta1" => Some(V1BETA1),
        _ => None,
    });
    known.unwrap_or(V1)
}

/// What a webhook says.
pub(super) enum Answer {
    Allowed { patch: Option<Value> },
    Denied { status: Value },
}

/// The whole question, about an object and what was there before, both in the form of `kind`.
pub(super) fn review(
    attributes: &Attributes<'_>,
    kind: &'static Kind,
    object: Value,
    old: Value,
    uid: &str,
    version: &str,
) -> Value {
    let name_of = if object.is_null() { &old } else { &object };
    let mut request = request(attributes, kind, name_of, uid);
    request["object"] = object;
    request["oldObject"] = old;
    json!({"kind": "AdmissionReview", "apiVersion": version, "request": request})
}

/// Its request, without the objects.
pub(super) fn request(attributes: &Attributes<'_>, kind: &'static Kind, object: &Value, uid: &str) -> Value {
    let Attributes { request, operation, old, dry_run, .. } = *attributes;
    let info = &request.info;
    // A subresource with a kind of its own is about what is asked of the object, not about the object.
    let asked = |kind: &Kind| match attributes.subobject() {
        Some(row) => (row.group, row.version, row.kind),
        None => (kind.group, kind.version, kind.kind),
    };
    let named = |kind: &Kind| {
        let (group, version, kind) = asked(kind);
        json!({"group": group, "version": version, "kind": kind})
    };
    let placed =
        |kind: &Kind| json!({"group": kind.group, "version": kind.version, "resource": kind.resource});
    let mut out = Map::new();
    out.insert("uid".into(), uid.into());
    out.insert("kind".into(), named(kind));
    out.insert("resource".into(), placed(kind));
    out.insert("requestKind".into(), named(attributes.kind));
    out.insert("requestResource".into(), placed(attributes.kind));
    if !info.subresource.is_empty() {
        out.insert("subResource".into(), info.subresource.as_str().into());
        out.insert("requestSubResource".into(), info.subresource.as_str().into());
    }
    let name = match object["metadata"]["name"].as_str().or_else(|| old?["metadata"]["name"].as_str()) {
        Some(name) => name.to_owned(),
        None => info.name.clone(),
    };
    if !name.is_empty() {
        out.insert("name".into(), name.into());
    }
    if attributes.kind.namespaced {
        out.insert("namespace".into(), info.namespace.as_str().into());
    }
    out.insert("operation".into(), operation.name().into());
    let user = &request.user;
    let mut who = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        who["uid"] = user.uid.as_str().into();
    }
    if !user.extra.is_empty() {
        who["extra"] = json!(user.extra);
    }
    out.insert("userInfo".into(), who);
    out.insert("dryRun".into(), dry_run.into());
    let options = if operation == Operation::Connect { Value::Null } else { options(attributes) };
    out.insert("options".into(), options);
    Value::Object(out)
}

fn options(attributes: &Attributes<'_>) -> Value {
    let query = &attributes.request.query;
    let kind = match (attributes.operation, attributes.request.info.verb) {
        (Operation::Create, _) => "CreateOptions",
        (Operation::Delete, _) => "DeleteOptions",
        (_, api::kind::Verb::Patch) => "PatchOptions",
        _ => "UpdateOptions",
    };
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    for name in ["fieldManager", "fieldValidation"] {
        if let Some(value) = query.get(name).filter(|_| attributes.operation != Operation::Delete) {
            options[name] = value.into();
        }
    }
    if attributes.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    options
}

/// What an answer says; the error is one of the webhook itself. Of `v1beta1` neither type nor uid were ever checked.
pub(super) fn answer(answer: &Value, uid: &str, version: &str) -> Result<Answer, String> {
    let is_strict = version == V1;
    if is_strict && (answer["apiVersion"] != version || answer["kind"] != "AdmissionReview") {
        return Err(format!(
            "expected webhook response of {version}, Kind=AdmissionReview, got {}, Kind={}",
            answer["apiVersion"].as_str().unwrap_or_default(),
            answer["kind"].as_str().unwrap_or_default()
        ));
    }
    let response = &answer["response"];
    if !response.is_object() {
        return Err("webhook response was absent".into());
    }
    let got = response["uid"].as_str().unwrap_or_default();
    if is_strict && got != uid {
        return Err(format!("expected response.uid={uid:?}, got {got:?}"));
    }
    if response["allowed"] != true {
        return Ok(Answer::Denied { status: response["status"].clone() });
    }
    let patch = match (response["patch"].as_str(), response["patchType"].as_str()) {
        (None | Some(""), None) => None,
        (Some(patch), kind) if kind == Some("JSONPatch") || !is_strict => {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(patch)
                .map_err(|error| format!("the patch is not base64: {error}"))?;
            Some(serde_json::from_slice(&bytes).map_err(|error| format!("the patch is no JSON: {error}"))?)
        }
        (Some(_), None) => {
            return Err("webhook returned response.patch but not response.patchType".into());
        }
        (None, Some(_)) => {
            return Err("webhook returned response.patchType but not response.patch".into());
        }
        (_, Some(other)) => {
            return Err(format!("webhook returned invalid response.patchType of {other:?}"));
        }
    };
    Ok(Answer::Allowed { patch })
}

/// What a webhook wants the client's user to be told.
pub(super) fn warnings(answer: &Value) -> impl Iterator<Item = &str> {
    answer["response"]["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// What a webhook wants to stand in the audit.
pub(super) fn annotations(answer: &Value) -> impl Iterator<Item = (&str, &str)> {
    let annotations = answer["response"]["auditAnnotations"].as_object().into_iter().flatten();
    annotations.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

/// The refusal as the client sees it.
pub(super) fn denied(webhook: &str, status: &Value) -> Status {
    let by = format!("admission webhook {webhook:?} denied the request");
    let text = |name: &str| status[name].as_str().unwrap_or_default();
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{by} without explanation"),
        ("", why) | (why, _) => format!("{by}: {why}"),
    };
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400);
    let code = code.unwrap_or(400);
    let mut refused = Status::bad_request(message);
    refused.code = code;
    refused.reason = Reason::of_code(code);
    refused
}

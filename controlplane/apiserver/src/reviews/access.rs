//! SubjectAccessReview and its self and local forms: may this user do that.

use api::field::FieldError;
use api::status::{Qualified, Status};
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::authorization::Attributes;
use crate::request::Request;
use crate::user::User;

/// Whether the user who asks may.
pub(super) fn status(api: &ApiServer, user: &User, spec: &Value) -> Value {
    decide(api, user, spec)
}

/// Whether the user in the spec may.
pub(super) fn status_of_another(api: &ApiServer, spec: &Value) -> Result<Value, Status> {
    let resource = spec["resourceAttributes"].is_object();
    if resource == spec["nonResourceAttributes"].is_object() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        let field = FieldError::invalid("spec.resourceAttributes", spec["resourceAttributes"].clone(), why);
        return Err(Status::invalid(Qualified { group: GROUP, name: "SubjectAccessReview" }, "", &[field]));
    }
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let user = User {
        name: text(&spec["user"]).to_owned(),
        uid: text(&spec["uid"]).to_owned(),
        groups: list(&spec["groups"]),
        extra: spec["extra"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, values)| (key.clone(), list(values)))
            .collect(),
    };
    if user.name.is_empty() && user.groups.is_empty() {
        let field = FieldError::invalid("spec.user", "", "at least one of user or group must be specified");
        return Err(Status::invalid(Qualified { group: GROUP, name: "SubjectAccessReview" }, "", &[field]));
    }
    Ok(decide(api, &user, spec))
}

/// The same, about the namespace of the path only.
pub(super) fn local_status(api: &ApiServer, request: &Request, spec: &Value) -> Result<Value, Status> {
    let namespace = text(&spec["resourceAttributes"]["namespace"]);
    if namespace != request.info.namespace {
        let why = "must match metadata.namespace";
        let field = FieldError::invalid("spec.resourceAttributes.namespace", namespace, why);
        return Err(Status::invalid(
            Qualified { group: GROUP, name: "LocalSubjectAccessReview" },
            "",
            &[field],
        ));
    }
    status_of_another(api, spec)
}

const GROUP: &str = "authorization.k8s.io";

fn decide(api: &ApiServer, user: &User, spec: &Value) -> Value {
    let resource = &spec["resourceAttributes"];
    let asked = if resource.is_object() {
        Attributes {
            verb: text(&resource["verb"]),
            group: text(&resource["group"]),
            version: text(&resource["version"]),
            resource: text(&resource["resource"]),
            subresource: text(&resource["subresource"]),
            namespace: text(&resource["namespace"]),
            name: text(&resource["name"]),
            path: "",
            fields: text(&resource["fieldSelector"]["rawSelector"]),
        }
    } else {
        let path = &spec["nonResourceAttributes"];
        Attributes {
            verb: text(&path["verb"]),
            path: text(&path["path"]),
            group: "",
            version: "",
            resource: "",
            subresource: "",
            namespace: "",
            name: "",
            fields: "",
        }
    };
    let decision = api.server.authorizer.decide(&api.server.caches, user, &asked);
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    status
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

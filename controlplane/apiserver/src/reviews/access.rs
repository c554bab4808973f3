//! SubjectAccessReview and its self and local forms: may this user do that.

use api::field::FieldError;
use api::status::{Qualified, Status};
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::authorization::Attributes;
use crate::request::Request;
use crate::user::User;

/// Whether the user who asks may.
pub(super) fn status(api: &ApiServer, user: &User, spec: &Value) -> Result<Value, Status> {
    refuse("SelfSubjectAccessReview", wrong(spec))?;
    Ok(decide(api, user, spec))
}

/// Whether the user in the spec may.
pub(super) fn status_of_another(api: &ApiServer, spec: &Value) -> Result<Value, Status> {
    refuse("SubjectAccessReview", wrong_of_another(spec))?;
    Ok(decide(api, &user_of(spec), spec))
}

/// The same, about the namespace of the path only.
pub(super) fn local_status(api: &ApiServer, request: &Request, spec: &Value) -> Result<Value, Status> {
    let mut errors = wrong_of_another(spec);
    let namespace = text(&spec["resourceAttributes"]["namespace"]);
    if spec["resourceAttributes"].is_object() && namespace != request.info.namespace {
        let why = "must match metadata.namespace";
        errors.push(FieldError::invalid("spec.resourceAttributes.namespace", namespace, why));
    }
    let path = &spec["nonResourceAttributes"];
    if path.is_object() {
        let why = "disallowed on this kind of request";
        errors.push(FieldError::invalid("spec.nonResourceAttributes", path.clone(), why));
    }
    refuse("LocalSubjectAccessReview", errors)?;
    Ok(decide(api, &user_of(spec), spec))
}

fn refuse(name: &'static str, errors: Vec<FieldError>) -> Result<(), Status> {
    match errors.as_slice() {
        [] => Ok(()),
        errors => Err(Status::invalid(Qualified { group: GROUP, name }, "", errors)),
    }
}

/// What is wrong with a question.
fn wrong(spec: &Value) -> Vec<FieldError> {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let mut errors = Vec::new();
    match (resource.is_object(), path.is_object()) {
        (true, true) => {
            let why = "cannot be specified in combination with resourceAttributes";
            errors.push(FieldError::invalid("spec.nonResourceAttributes", path.clone(), why));
        }
        (false, false) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.push(FieldError::invalid("spec.resourceAttributes", Value::Null, why));
        }
        _ => {}
    }
    for name in ["fieldSelector", "labelSelector"] {
        let selector = &resource[name];
        if !selector.is_object() {
            continue;
        }
        let at = format!("spec.resourceAttributes.{name}");
        let required = selector["requirements"].as_array().is_some_and(|all| !all.is_empty());
        match (text(&selector["rawSelector"]), required) {
            ("", false) => {
                let why = format!("when {at} is specified, requirements or rawSelector is required");
                errors.push(FieldError::required(format!("{at}.requirements"), why));
            }
            (raw, true) if !raw.is_empty() => {
                let why = "may not specified at the same time as requirements";
                errors.push(FieldError::invalid(format!("{at}.rawSelector"), raw, why));
            }
            _ => {}
        }
    }
    errors
}

fn wrong_of_another(spec: &Value) -> Vec<FieldError> {
    let mut errors = wrong(spec);
    let user = user_of(spec);
    if user.name.is_empty() && user.groups.is_empty() {
        let why = "at least one of user or group must be specified";
        errors.push(FieldError::invalid("spec.user", "", why));
    }
    errors
}

fn user_of(spec: &Value) -> User {
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    User {
        name: text(&spec["user"]).to_owned(),
        uid: text(&spec["uid"]).to_owned(),
        groups: list(&spec["groups"]),
        extra: spec["extra"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, values)| (key.clone(), list(values)))
            .collect(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_about_one_thing() {
        let check = |spec: Value, expect: &[&str]| {
            let said: Vec<String> = wrong(&spec).iter().map(ToString::to_string).collect();
            assert_eq!(said, expect, "{spec}");
        };
        let (resource, path) =
            (json!({"verb": "get", "resource": "pods"}), json!({"verb": "get", "path": "/"}));
        check(json!({"resourceAttributes": resource}), &[]);
        check(json!({"nonResourceAttributes": path}), &[]);
        check(
            json!({}),
            &[
                "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
            ],
        );
        check(
            json!({"resourceAttributes": resource, "nonResourceAttributes": path}),
            &[
                r#"spec.nonResourceAttributes: Invalid value: {"verb":"get","path":"/"}: cannot be specified in combination with resourceAttributes"#,
            ],
        );
        let selecting =
            |selector: Value| json!({"resourceAttributes": {"verb": "list", "fieldSelector": selector}});
        check(selecting(json!({"rawSelector": "a=b"})), &[]);
        check(
            selecting(json!({})),
            &[
                "spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required",
            ],
        );
        check(
            selecting(json!({"rawSelector": "a=b", "requirements": [{"key": "a"}]})),
            &[
                r#"spec.resourceAttributes.fieldSelector.rawSelector: Invalid value: "a=b": may not specified at the same time as requirements"#,
            ],
        );
    }
}

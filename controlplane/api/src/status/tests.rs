//! Sentences, codes and causes.

use serde_json::json;

use super::*;
use crate::field::FieldError;

const PODS: Qualified<'_> = Qualified { group: "", name: "pods" };
const DEPLOYMENTS: Qualified<'_> = Qualified { group: "apps", name: "deployments" };

#[test]
fn sentences_and_codes() {
    let denied = Denied {
        user: "x",
        verb: "list",
        is_resource_request: true,
        resource: "pods",
        namespace: "default",
        ..Denied::default()
    };
    let exec = Denied {
        user: "x",
        verb: "create",
        is_resource_request: true,
        resource: "pods",
        subresource: "exec",
        name: "p",
        reason: "why",
        ..Denied::default()
    };
    let path = Denied { user: "system:anonymous", verb: "get", path: "/metrics", ..Denied::default() };
    let cases = [
        (Status::not_found(PODS, "x"), 404, "NotFound", "pods \"x\" not found"),
        (
            Status::already_exists(DEPLOYMENTS, "x"),
            409,
            "AlreadyExists",
            "deployments.apps \"x\" already exists",
        ),
        (
            Status::optimistic_lock(PODS, "x"),
            409,
            "Conflict",
            "Operation cannot be fulfilled on pods \"x\": the object has been modified; please apply your changes to the latest version and try again",
        ),
        (
            Status::access_denied(&denied),
            403,
            "Forbidden",
            "pods is forbidden: User \"x\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
        ),
        (
            Status::access_denied(&exec),
            403,
            "Forbidden",
            "pods \"p\" is forbidden: User \"x\" cannot create resource \"pods/exec\" in API group \"\" at the cluster scope: why",
        ),
        (
            Status::access_denied(&path),
            403,
            "Forbidden",
            "forbidden: User \"system:anonymous\" cannot get path \"/metrics\"",
        ),
        (Status::unauthorized(), 401, "Unauthorized", "Unauthorized"),
        (Status::internal("boom"), 500, "InternalError", "Internal error occurred: boom"),
        (Status::too_old_resource_version(5, 9), 410, "Expired", "too old resource version: 5 (9)"),
        (Status::timeout("slow", 1), 504, "Timeout", "Timeout: slow"),
    ];
    for (status, code, reason, message) in cases {
        assert_eq!((status.code, status.reason.as_str(), status.message.as_str()), (code, reason, message));
    }
}

#[test]
fn invalid_carries_its_causes() {
    let errors = [FieldError::invalid("spec.replicas", -1, "must be greater than or equal to 0")];
    let status = Status::invalid(Qualified { group: "apps", name: "Deployment" }, "x", &errors);
    assert_eq!(
        status.to_value(),
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Invalid", "code": 422,
            "message": "Deployment.apps \"x\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "details": {"name": "x", "group": "apps", "kind": "Deployment", "causes": [
                {"reason": "FieldValueInvalid", "message": "Invalid value: -1: must be greater than or equal to 0", "field": "spec.replicas"}]},
        })
    );
}

#[test]
fn success_has_no_code() {
    let details = Details {
        name: "web".into(),
        group: "apps".into(),
        kind: "deployments".into(),
        uid: "u".into(),
        ..Details::default()
    };
    assert_eq!(
        Status::success(Some(details)).to_value(),
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
               "details": {"name": "web", "group": "apps", "kind": "deployments", "uid": "u"}})
    );
}

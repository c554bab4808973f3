//! `token`: a ServiceAccount token, bound to an object and good for a time.
//!
//! Reference: TokenRequest of authentication.k8s.io/v1, KEP-1205.

use api::field::FieldError;
use api::kind::Kind;
use api::path::CreateOptions;
use api::status::{Qualified, Status};
use bytes::Bytes;
use pki::{BoundTo, Claims, Kubernetes};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::authentication::Authenticator;
use crate::body;
use crate::registry::{self, object_key};
use crate::request::Request;
use crate::server::Server;

/// Upstream's bounds on what may be asked for.
const SHORTEST_SECONDS: i64 = 600;
const LONGEST_SECONDS: i64 = 1 << 32;
const DEFAULT_SECONDS: i64 = 3600;

/// Answers a create of `serviceaccounts/NAME/token`.
pub async fn create(
    server: &Server,
    authenticator: &Authenticator,
    request: &Request,
    kind: &'static Kind,
    body: &Bytes,
) -> Result<Answer, Status> {
    let options = CreateOptions::parse(&request.query)?;
    let (asked, warnings) = body::object(request, kind, body, options.field_validation)?;
    crate::admission::check_token(server, request, &asked["spec"]["boundObjectRef"])?;
    let mut asked = server.admit_posted(request, kind, asked, options.dry_run).await?;
    let (namespace, name) = (request.info.namespace.as_str(), request.info.name.as_str());
    let account = uid_of(server, kind, namespace, name)?;
    let seconds = asked["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
    check(name, seconds)?;
    let mut audiences: Vec<String> = asked["spec"]["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    if audiences.is_empty() {
        audiences.clone_from(&authenticator.audiences);
    }
    let now = request.now.as_second();
    let mut bound = Kubernetes {
        namespace: namespace.into(),
        serviceaccount: BoundTo { name: name.into(), uid: Some(account) },
        ..Kubernetes::default()
    };
    bind(server, &mut bound, &asked["spec"]["boundObjectRef"])?;
    let claims = Claims {
        aud: audiences.clone(),
        exp: now + seconds,
        iat: now,
        iss: String::new(),
        jti: Some(server.uid()),
        kubernetes: bound,
        nbf: now,
        sub: format!("system:serviceaccount:{namespace}:{name}"),
    };
    let token = authenticator.tokens.sign(claims).map_err(Status::internal)?;
    let ends = jiff::Timestamp::from_second(now + seconds).map_err(Status::internal)?;
    asked["spec"]["audiences"] = audiences.into();
    asked["spec"]["expirationSeconds"] = seconds.into();
    asked["metadata"] =
        json!({"name": name, "namespace": namespace, "creationTimestamp": ends_of(request.now)});
    asked["status"] = json!({"token": token, "expirationTimestamp": ends.to_string()});
    Ok(Answer::subobject(201, kind, asked).warn(warnings))
}

fn ends_of(now: jiff::Timestamp) -> String {
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

fn check(name: &str, seconds: i64) -> Result<(), Status> {
    let why = match seconds {
        ..SHORTEST_SECONDS => "may not specify a duration less than 10 minutes",
        seconds if seconds > LONGEST_SECONDS => "may not specify a duration larger than 2^32 seconds",
        _ => return Ok(()),
    };
    let field = FieldError::invalid("spec.expirationSeconds", seconds, why);
    Err(Status::invalid(Qualified { group: "authentication.k8s.io", name: "TokenRequest" }, name, &[field]))
}

/// Binds the token to an object that must exist.
fn bind(server: &Server, bound: &mut Kubernetes, wanted: &Value) -> Result<(), Status> {
    let Some(kind) = wanted["kind"].as_str() else { return Ok(()) };
    let name = wanted["name"].as_str().unwrap_or_default();
    let (resource, namespace, place) = match kind {
        "Pod" => ("pods", bound.namespace.clone(), &mut bound.pod),
        "Secret" => ("secrets", bound.namespace.clone(), &mut bound.secret),
        "Node" => ("nodes", String::new(), &mut bound.node),
        other => return Err(Status::bad_request(format!("cannot bind token to object of type {other}"))),
    };
    let row = server.registry.by_resource("", "v1", resource).ok_or_else(Status::no_such_path)?;
    let (_, object) = registry::read(server, row, &object_key(row, &namespace, name))?;
    let object = object.ok_or_else(|| Status::not_found(row.qualified_resource(), name))?;
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    if kind == "Pod" {
        runs_as(&object, &bound.serviceaccount.name)?;
    }
    if wanted["uid"].as_str().is_some_and(|wanted| !wanted.is_empty() && wanted != uid) {
        let why = format!(
            "the UID in the bound object reference ({}) does not match the UID in record ({uid}). The object might have been deleted and then recreated",
            wanted["uid"].as_str().unwrap_or_default()
        );
        return Err(Status::conflict(row.qualified_resource(), name, why));
    }
    *place = Some(BoundTo { name: name.into(), uid: Some(uid) });
    if kind == "Pod" {
        bound.node = node_of(server, &object)?;
    }
    Ok(())
}

/// The node that a pod runs on, which its token tells of but is not bound to.
fn node_of(server: &Server, pod: &Value) -> Result<Option<BoundTo>, Status> {
    let name = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let kind = server.registry.by_resource("", "v1", "nodes").ok_or_else(Status::no_such_path)?;
    let (_, node) = registry::read(server, kind, &object_key(kind, "", name))?;
    let uid = node.and_then(|node| node["metadata"]["uid"].as_str().map(str::to_owned));
    Ok(Some(BoundTo { name: name.into(), uid }))
}

/// A pod carries the tokens of its own account only: its node may ask for them.
fn runs_as(pod: &Value, account: &str) -> Result<(), Status> {
    match pod["spec"]["serviceAccountName"].as_str().unwrap_or_default() {
        own if own == account => Ok(()),
        _ => Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {} to pod running with different serviceaccount name.",
            api::field::quote(account)
        ))),
    }
}

fn uid_of(server: &Server, kind: &'static Kind, namespace: &str, name: &str) -> Result<String, Status> {
    let (_, object) = registry::read(server, kind, &object_key(kind, namespace, name))?;
    let object = object.ok_or_else(|| Status::not_found(kind.qualified_resource(), name))?;
    Ok(object["metadata"]["uid"].as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_carries_tokens_of_its_own_account_only() {
        let pod = json!({"spec": {"serviceAccountName": "own"}});
        assert!(runs_as(&pod, "own").is_ok());
        for (pod, account) in [(&pod, "admin"), (&json!({"spec": {}}), "admin"), (&json!({}), "own")] {
            assert_eq!(runs_as(pod, account).unwrap_err().code, 400, "{pod} {account}");
        }
    }
}

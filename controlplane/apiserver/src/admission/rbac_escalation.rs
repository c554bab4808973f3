//! Roles and bindings: nobody gives rights that they do not hold, unless they may `escalate` the role or `bind`
//! it.
//!
//! Reference: Kubernetes "Privilege escalation prevention and bootstrapping".

use api::status::{Qualified, Status};
use serde::Deserialize as _;
use serde_json::Value;

use super::Attributes;
use crate::authorization::{Attributes as Asked, Rule, missing};
use crate::registry::object_key;
use crate::server::Server;

/// The group of all four kinds.
pub(super) const GROUP: &str = "rbac.authorization.k8s.io";
/// Members may give anything.
const MASTERS: &str = "system:masters";

/// Refuses a role or binding that gives more than its writer holds.
pub fn check(server: &Server, attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    let user = &attributes.request.user;
    if user.is_in(MASTERS) || attributes.old.is_some_and(|old| is_garbage_collection(old, object)) {
        return Ok(());
    }
    let reference = &object["roleRef"];
    let given = if reference.is_object() {
        if may(server, attributes, "bind", &resource_of(reference), text(&reference["name"])) {
            return Ok(());
        }
        rules_behind(server, attributes, reference)?
    } else {
        if may(server, attributes, "escalate", attributes.kind.resource, text(&object["metadata"]["name"])) {
            return Ok(());
        }
        Vec::deserialize(&object["rules"]).unwrap_or_default()
    };
    refuse_more_than_held(server, attributes, object, &given)?;
    if object["aggregationRule"].is_object() && !lacking(server, attributes, &everything()).is_empty() {
        let why = "must have cluster-admin privileges to use the aggregationRule";
        return Err(forbidden(attributes, object, why));
    }
    Ok(())
}

fn refuse_more_than_held(
    server: &Server,
    attributes: &Attributes<'_>,
    object: &Value,
    given: &[Rule],
) -> Result<(), Status> {
    let lacking = lacking(server, attributes, given);
    if lacking.is_empty() {
        return Ok(());
    }
    let user = &attributes.request.user;
    let groups: Vec<String> = user.groups.iter().map(|group| api::field::quote(group)).collect();
    let why = format!(
        "user {} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        api::field::quote(&user.name),
        groups.join(" "),
        lacking.join("\n")
    );
    Err(forbidden(attributes, object, why))
}

/// What of `given` the writer does not hold in the request's namespace.
fn lacking(server: &Server, attributes: &Attributes<'_>, given: &[Rule]) -> Vec<String> {
    let policy = server.authorizer.policy(&server.caches);
    let request = attributes.request;
    let held: Vec<&Rule> = policy.rules_of(&request.user, &request.info.namespace).collect();
    missing(&held, given)
}

fn may(server: &Server, attributes: &Attributes<'_>, verb: &str, resource: &str, name: &str) -> bool {
    let namespace = attributes.request.info.namespace.as_str();
    let asked = Asked {
        verb,
        group: GROUP,
        version: "v1",
        resource,
        subresource: "",
        namespace,
        name,
        path: "",
        fields: "",
    };
    server.authorizer.decide(&server.caches, &attributes.request.user, &asked).allowed
}

/// The rules of the role that a binding names.
fn rules_behind(
    server: &Server,
    attributes: &Attributes<'_>,
    reference: &Value,
) -> Result<Vec<Rule>, Status> {
    let (resource, name) = (resource_of(reference), text(&reference["name"]));
    // Another kind of role is the validation's to refuse.
    let Some(kind) = server.registry.by_resource(GROUP, "v1", &resource) else { return Ok(Vec::new()) };
    let key = object_key(kind, &attributes.request.info.namespace, name);
    let (_, role) = crate::registry::read(server, kind, &key)?;
    let role = role.ok_or_else(|| Status::not_found(Qualified { group: GROUP, name: &resource }, name))?;
    Ok(Vec::deserialize(&role["rules"]).unwrap_or_default())
}

/// `roles` or `clusterroles`.
fn resource_of(reference: &Value) -> String {
    format!("{}s", text(&reference["kind"]).to_ascii_lowercase())
}

/// What `cluster-admin` may.
fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_owned()];
    [
        Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
    ]
}

/// Whether only owners and finalizers differ: what a garbage collector writes.
fn is_garbage_collection(old: &Value, new: &Value) -> bool {
    let bare = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for name in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
                metadata.shift_remove(name);
            }
        }
        object
    };
    bare(old) == bare(new)
}

fn forbidden(attributes: &Attributes<'_>, object: &Value, why: impl std::fmt::Display) -> Status {
    Status::forbidden(attributes.kind.qualified_resource(), text(&object["metadata"]["name"]), why)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

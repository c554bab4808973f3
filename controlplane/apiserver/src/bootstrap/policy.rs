//! Bootstrap roles and bindings: made where they are missing, completed where a rule was lost.

use api::status::Status;
use futures::future::{BoxFuture, try_join_all};
use serde_json::{Value, json};

use super::roles::{self, BindingRow, RoleRow};
use super::{create, mend, row};
use crate::authorization::Rule;
use crate::server::Server;

const GROUP: &str = "rbac.authorization.k8s.io";
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const BOOTSTRAPPING: &str = "kubernetes.io/bootstrapping";

/// Ensures every row of the tables.
pub(super) async fn ensure(server: &Server) -> Result<(), Status> {
    let mut work: Vec<BoxFuture<'_, Result<(), Status>>> = Vec::new();
    for role in roles::cluster_roles() {
        work.push(Box::pin(async move { ensure_role(server, "clusterroles", "", &role).await }));
    }
    for (namespace, role) in roles::namespaced_roles() {
        work.push(Box::pin(async move { ensure_role(server, "roles", namespace, &role).await }));
    }
    for binding in roles::bindings() {
        work.push(Box::pin(async move { ensure_binding(server, &binding).await }));
    }
    // All at once, so that their writes share syncs of the store.
    try_join_all(work).await.map(drop)
}

async fn ensure_binding(server: &Server, binding: &BindingRow) -> Result<(), Status> {
    let resource = if binding.namespace.is_empty() { "clusterrolebindings" } else { "rolebindings" };
    let subjects: Vec<Value> = binding.subjects.iter().map(|subject| subject.to_value()).collect();
    let mut object = json!({
        "metadata": metadata(binding.name, binding.namespace, &[]),
        "roleRef": {"apiGroup": GROUP, "kind": binding.role_kind, "name": binding.role},
        "subjects": subjects
    });
    if binding.namespace.is_empty() {
        object["metadata"].as_object_mut().map(|metadata| metadata.shift_remove("namespace"));
    }
    create(server, GROUP, resource, object).await?;
    let key = key(binding.namespace, binding.name);
    mend(server, row(server, GROUP, resource)?, &key, |found| with_missing(found, "subjects", &subjects))
        .await
}

async fn ensure_role(server: &Server, resource: &str, namespace: &str, role: &RoleRow) -> Result<(), Status> {
    let rules: Vec<Value> = role.rules.iter().map(|rule: &Rule| json!(rule)).collect();
    let mut object = json!({"metadata": metadata(role.name, namespace, role.labels), "rules": rules});
    if let Some(selector) = role.aggregates {
        object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {selector: "true"}}]});
        // The aggregation controller keeps the union; the first one is made here.
        object["rules"] = roles::aggregated(selector).iter().map(|rule| json!(rule)).collect();
    }
    create(server, GROUP, resource, object).await?;
    if role.aggregates.is_some() {
        return Ok(());
    }
    let key = key(namespace, role.name);
    mend(server, row(server, GROUP, resource)?, &key, |found| with_missing(found, "rules", &rules)).await
}

fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

fn metadata(name: &str, namespace: &str, labels: &[&str]) -> Value {
    let mut metadata = json!({"name": name, "labels": {BOOTSTRAPPING: "rbac-defaults"}, "annotations": {AUTO_UPDATE: "true"}});
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    for label in labels {
        metadata["labels"][*label] = "true".into();
    }
    metadata
}

/// The object with the items that its list lacks; nothing where it has them all or must be left alone.
fn with_missing(found: &Value, list: &str, wanted: &[Value]) -> Option<Value> {
    if found["metadata"]["annotations"][AUTO_UPDATE] == "false" {
        return None;
    }
    let mut items = found[list].as_array().cloned().unwrap_or_default();
    let before = items.len();
    items.extend(
        wanted.iter().filter(|item| !found[list].as_array().is_some_and(|has| has.contains(item))).cloned(),
    );
    if items.len() == before {
        return None;
    }
    let mut mended = found.clone();
    mended[list] = items.into();
    Some(mended)
}

//! NamespaceLifecycle: nothing is made in a namespace that is missing or ending, and the first ones stay.

use api::status::Status;
use serde_json::Value;

use super::{Attributes, Operation, name_of};
use crate::registry;
use crate::server::Server;

/// Namespaces that the cluster cannot be without.
const PROTECTED: &[&str] = &["default", "kube-system", "kube-public"];
/// Kinds that may still be made in a namespace that ends: questions, and who may clean up.
const ALLOWED_WHILE_ENDING: &[&str] = &["localsubjectaccessreviews"];

pub(super) async fn check(
    server: &Server,
    attributes: &Attributes<'_>,
    object: &Value,
) -> Result<(), Status> {
    let (info, kind) = (&attributes.request.info, attributes.kind);
    if attributes.operation == Operation::Delete && kind.resource == "namespaces" {
        let name = info.name.as_str();
        return match PROTECTED.contains(&name) {
            true => {
                Err(Status::forbidden(kind.qualified_resource(), name, "this namespace may not be deleted"))
            }
            false => Ok(()),
        };
    }
    if attributes.operation != Operation::Create || !kind.namespaced || info.namespace.is_empty() {
        return Ok(());
    }
    let namespaces = server.registry.by_resource("", "v1", "namespaces").ok_or_else(Status::no_such_path)?;
    // The store, not the cache: it may have been made, or its end begun, a moment ago.
    let (_, namespace) = registry::read(server, namespaces, &info.namespace)?;
    let namespace =
        namespace.ok_or_else(|| Status::not_found(namespaces.qualified_resource(), &info.namespace))?;
    let ending = namespace["status"]["phase"] == "Terminating"
        || namespace["metadata"]["deletionTimestamp"].is_string();
    if ending && !ALLOWED_WHILE_ENDING.contains(&kind.resource) {
        let why = format!(
            "unable to create new content in namespace {} because it is being terminated",
            info.namespace
        );
        let name = if info.name.is_empty() { name_of(object) } else { &info.name };
        let mut status = Status::forbidden(kind.qualified_resource(), name, why);
        if let Some(details) = &mut status.details {
            details.causes.push(api::status::Cause {
                reason: "NamespaceTerminating".into(),
                message: format!("namespace {} is being terminated", info.namespace),
                field: "metadata.namespace".into(),
            });
        }
        return Err(status);
    }
    Ok(())
}

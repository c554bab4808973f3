//! Admission: what may still be changed or refused before an object is stored, in upstream's order.
//!
//! ```text
//!   mutating: service account, toleration seconds, priority, node restriction, node taints, cluster IPs
//!   validating: namespace lifecycle, RBAC escalation
//! ```
//!
//! One file per plugin, each a function over the object; what it reads comes from the caches.

mod default_toleration_seconds;
mod namespace_lifecycle;
mod node_restriction;
mod priority;
mod rbac_escalation;
mod service_account;
mod service_ips;
mod taint_nodes;

use api::kind::Kind;
use api::status::Status;
use serde_json::Value;

pub use node_restriction::check_token;
pub use service_ips::Allocator;

use crate::request::Request;
use crate::server::Server;

/// What is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// Another version of one.
    Update,
    /// The end of one.
    Delete,
}

/// What plugins look at.
#[derive(Debug)]
pub struct Attributes<'a> {
    /// The request.
    pub request: &'a Request,
    /// The row of its kind.
    pub kind: &'static Kind,
    /// What is about to happen.
    pub operation: Operation,
    /// What is there now.
    pub old: Option<&'a Value>,
    /// Whether nothing will be stored.
    pub dry_run: bool,
}

impl Attributes<'_> {
    /// Whether this creates an object of a kind itself, not of a subresource.
    fn creates(&self, group: &str, resource: &str) -> bool {
        self.operation == Operation::Create
            && self.request.info.subresource.is_empty()
            && self.kind.group == group
            && self.kind.resource == resource
    }
}

impl Server {
    /// Runs every plugin over an object; of a delete, over nothing.
    pub async fn admit(
        &self,
        request: &Request,
        kind: &'static Kind,
        operation: Operation,
        old: Option<&Value>,
        mut object: Value,
        dry_run: bool,
    ) -> Result<Value, Status> {
        let attributes = Attributes { request, kind, operation, old, dry_run };
        namespace_lifecycle::check(self, &attributes).await?;
        if operation != Operation::Delete && kind.group == rbac_escalation::GROUP {
            rbac_escalation::check(self, &attributes, &object)?;
        }
        if attributes.creates("", "pods") {
            service_account::admit(self, &attributes, &mut object)?;
            default_toleration_seconds::admit(&mut object);
            priority::admit(&mut object)?;
        }
        node_restriction::check(self, &attributes, &object)?;
        if attributes.creates("", "nodes") {
            taint_nodes::admit(&mut object);
        }
        if kind.group.is_empty() && kind.resource == "services" && request.info.subresource.is_empty() {
            service_ips::admit(self, &attributes, &mut object)?;
        }
        Ok(object)
    }
}

/// An object as errors name it.
fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

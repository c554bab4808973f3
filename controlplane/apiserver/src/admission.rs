//! Admission: what may still be changed or refused before an object is stored, in upstream's order.
//!
//! ```text
//!   namespace lifecycle, limit ranger, service account, node restriction, node taints, pod security, priority,
//!   toleration seconds, certificate requests, default storage class, storage object in use, runtime class, default ingress class,
//!   RBAC escalation, cluster IPs, mutating policies and webhooks, validating policies and webhooks, resource quota
//! ```
//!
//! One file per plugin, each a function over the object; what it reads comes from the caches.

mod authorizer;
mod certificates;
mod connect;
mod default_toleration_seconds;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod pod_security;
mod policies;
mod priority;
mod rbac_escalation;
mod resource_quota;
mod runtime_class;
mod service_account;
mod service_families;
mod service_ips;
mod storage;
mod subobject;
mod taint_nodes;
mod topology_labels;
mod webhooks;

use api::kind::{Kind, Subresource};
use api::status::Status;
use serde_json::Value;

pub use node_restriction::check_token;
pub use policies::Policies;
pub use priority::system_classes as system_priority_classes;
pub use service_ips::Allocator;
pub(crate) use service_ips::{addresses, node_ports_of};
pub use webhooks::Hooks;

use crate::request::Request;
use crate::server::Server;
use crate::strategy;

/// What is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// Another version of one.
    Update,
    /// The end of one.
    Delete,
    /// A stream to one, or a request through it.
    Connect,
}

impl Operation {
    /// As rules and reviews name it.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
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
    /// The row of the subresource, where that has a kind of its own: what is looked at is no object of `kind` then.
    fn subobject(&self) -> Option<&'static Subresource> {
        let row = self.kind.subresource(&self.request.info.subresource)?;
        let own = (row.group, row.version, row.kind) != (self.kind.group, self.kind.version, self.kind.kind);
        own.then_some(row)
    }

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
        namespace_lifecycle::check(self, &attributes, &object).await?;
        if limit_ranger::concerns(&attributes) {
            limit_ranger::admit(self, &attributes, &mut object)?;
        }
        if operation != Operation::Delete && kind.group == rbac_escalation::GROUP {
            rbac_escalation::check(self, &attributes, &object)?;
        }
        if attributes.creates("", "pods") {
            service_account::admit(self, &attributes, &mut object)?;
        }
        if kind.group == certificates::GROUP && kind.resource == "certificatesigningrequests" {
            certificates::admit(self, &attributes, &mut object)?;
        }
        node_restriction::check(self, &attributes, &object)?;
        if attributes.creates("", "nodes") {
            taint_nodes::admit(&mut object);
        }
        self.admit_by_kind(&attributes, &mut object)?;
        if kind.group.is_empty() && kind.resource == "services" && request.info.subresource.is_empty() {
            service_ips::admit(self, &attributes, &mut object).await?;
        }
        match request.info.subresource.as_str() {
            "scale" => subobject::admit_scale(self, &attributes, &mut object).await?,
            // Asked about what was posted, before it was carried out.
            "binding" | "eviction" => {}
            _ => self.ask_policies_and_webhooks(&attributes, &mut object).await?,
        }
        // Nothing may refuse after the quota has given.
        let whole = request.info.subresource.is_empty() || request.info.subresource == "resize";
        if operation != Operation::Delete && kind.namespaced && kind.storage.is_some() && whole {
            resource_quota::check(self, &attributes, &object).await?;
        }
        Ok(object)
    }

    /// What was configured in the cluster: policies and webhooks, those that change an object first.
    async fn ask_policies_and_webhooks(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
    ) -> Result<(), Status> {
        policies::mutate(self, attributes, object)?;
        webhooks::mutate(self, attributes, object).await?;
        if attributes.creates("", "pods") {
            strategy::begin_pod(object);
        }
        policies::validate(self, attributes, object)?;
        webhooks::validate(self, attributes, object).await
    }

    /// The plugins that are about one kind or a few.
    fn admit_by_kind(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
        let (kind, whole) = (attributes.kind, attributes.request.info.subresource.as_str());
        let written = attributes.operation != Operation::Delete;
        if written && matches!(whole, "" | "ephemeralcontainers") {
            pod_security::check(self, attributes, object)?;
        }
        if attributes.creates("", "pods") {
            priority::admit(self, object)?;
            default_toleration_seconds::admit(object);
            runtime_class::admit(self, object)?;
            topology_labels::of_pod(self, object);
        }
        if (kind.group, kind.resource) == ("scheduling.k8s.io", "priorityclasses") {
            if written {
                priority::check_class(self, attributes, object)?;
            } else {
                priority::protect(attributes)?;
            }
        }
        if attributes.creates("", "persistentvolumeclaims") {
            storage::default_class(self, object);
        }
        if ["persistentvolumes", "persistentvolumeclaims"].iter().any(|name| attributes.creates("", name)) {
            storage::protect(kind.resource, object);
        }
        if attributes.creates("networking.k8s.io", "ingresses") {
            storage::default_ingress_class(self, attributes, object)?;
        }
        Ok(())
    }
}

/// An object as errors name it.
fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

//! Subresources whose bodies are of a kind of their own (Binding, Eviction, TokenRequest, Scale): policies and webhooks are
//! asked about that, as upstream, and not about the object it belongs to.
//!
//! A binding, an eviction or a request for a token is looked at once, as it was posted; a scale as it was and as it shall be.

use api::kind::Kind;
use api::status::Status;
use serde_json::Value;

use super::{Attributes, Operation, topology_labels};
use crate::request::Request;
use crate::server::Server;
use crate::subresource::scale;

impl Server {
    /// What becomes of an object that is posted to a subresource.
    pub async fn admit_posted(
        &self,
        request: &Request,
        kind: &'static Kind,
        mut object: Value,
        dry_run: bool,
    ) -> Result<Value, Status> {
        let attributes = Attributes { request, kind, operation: Operation::Create, old: None, dry_run };
        if request.info.subresource == "binding" {
            topology_labels::of_binding(self, &mut object);
        }
        self.ask_policies_and_webhooks(&attributes, &mut object).await?;
        Ok(object)
    }
}

/// Asks about a change of replicas; `object` is what is scaled.
pub(super) async fn admit_scale(
    server: &Server,
    attributes: &Attributes<'_>,
    object: &mut Value,
) -> Result<(), Status> {
    let kind = attributes.kind;
    let old = attributes.old.map(|old| scale::of(kind, old));
    let mut new = scale::of(kind, object);
    let before = new["spec"].clone();
    let about = Attributes { old: old.as_ref(), ..*attributes };
    server.ask_policies_and_webhooks(&about, &mut new).await?;
    if new["spec"] != before {
        scale::set_replicas(kind, object, scale::replicas(&new)?);
    }
    Ok(())
}

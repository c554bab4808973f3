//! May they? Nodes what their pods need, everybody what the roles and bindings in the caches say; `system:masters`
//! may everything.
//!
//! ```text
//!   request ─► Attributes ─► members of system:masters ─► node ─► bindings whose subjects match ─► rules of their roles
//! ```
//!
//! Reference: Kubernetes "Using RBAC Authorization".

mod escalation;
mod node;
mod policy;
pub mod references;
mod rules;

use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use api::path::RequestInfo;
use api::status::{Denied, Status};
use store::Revision;

pub use escalation::missing;
pub use node::{confined_to, node_of};
pub use policy::Policy;
pub use rules::{Attributes, Rule};

use crate::cache::Caches;
use crate::user::User;
use node::Opinion;

/// Members may everything, so that a broken role cannot lock everybody out.
const MASTERS: &str = "system:masters";

/// What every node may of kinds that are not narrowed to its own.
static NODE_RULES: LazyLock<Vec<Rule>> = LazyLock::new(crate::bootstrap::node_rules);

/// Decides by the roles and bindings as they are.
#[derive(Debug, Default)]
pub struct Authorizer {
    compiled: RwLock<Option<(Revision, Arc<Policy>)>>,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may go on.
    pub allowed: bool,
    /// Why, for reviews and logs.
    pub reason: String,
}

impl Authorizer {
    /// Decides on a user's request.
    pub fn decide(&self, caches: &Caches, user: &User, attributes: &Attributes<'_>) -> Decision {
        if user.is_in(MASTERS) {
            return Decision { allowed: true, reason: String::new() };
        }
        let related = |relation, namespace: &str, name: &str| {
            let node = node_of(user).unwrap_or_default();
            node::is_related(caches, node, relation, namespace, name)
        };
        let unsaid = match node::opinion(user, attributes, &NODE_RULES, &related) {
            Some(Opinion::Allowed) => return Decision { allowed: true, reason: String::new() },
            Some(Opinion::None(why)) => why,
            None => String::new(),
        };
        match self.policy(caches).allows(user, attributes) {
            Some(reason) => Decision { allowed: true, reason },
            None => Decision { allowed: false, reason: unsaid },
        }
    }

    /// Refuses a request in upstream's words; why it is allowed otherwise.
    pub fn require(&self, caches: &Caches, user: &User, info: &RequestInfo) -> Result<String, Status> {
        let attributes = Attributes::of(info);
        let decision = self.decide(caches, user, &attributes);
        if decision.allowed {
            return Ok(decision.reason);
        }
        Err(Status::access_denied(&Denied {
            user: &user.name,
            verb: attributes.verb,
            is_resource_request: info.is_resource_request,
            path: &info.path,
            group: attributes.group,
            resource: attributes.resource,
            subresource: attributes.subresource,
            namespace: attributes.namespace,
            name: attributes.name,
            reason: &decision.reason,
        }))
    }

    /// The roles and bindings, compiled; made anew when one of them has changed.
    pub fn policy(&self, caches: &Caches) -> Arc<Policy> {
        let latest = Policy::latest(caches);
        let compiled = self.compiled.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((revision, policy)) = compiled.as_ref()
            && *revision >= latest
        {
            return policy.clone();
        }
        drop(compiled);
        let policy = Arc::new(Policy::compile(caches));
        *self.compiled.write().unwrap_or_else(PoisonError::into_inner) = Some((latest, policy.clone()));
        policy
    }
}

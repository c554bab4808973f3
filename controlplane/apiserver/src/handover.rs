//! What a further server of the cluster needs: the keys that all servers hold alike, the store's members, the cluster's facts.
//!
//! ```text
//!   GET /keelson/v1/server   Authorization: Bearer <id>.<secret>
//!     ─► RBAC: the group of tokens for servers ─► the secret is one that only a holder of the cluster's keys can make ─► keys
//! ```
//!
//! Who may write Secrets may make a bootstrap token of any group, but none that is answered here. Where the keys are and
//! what is secret about a token is the caller's business.

use std::future::Future;
use std::pin::Pin;

use api::kind::Verb;
use api::status::Status;
use serde_json::Value;

use crate::answer::Answer;
use crate::api_server::ApiServer;
use crate::authentication;
use crate::request::Request;

/// Where it is.
pub(crate) const PATH: &str = "/keelson/v1/server";
/// The group of tokens for servers.
pub const SERVERS: &str = "system:bootstrappers:keelson:servers";

/// Why a server gets nothing.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The token is a bootstrap token, but not made for this by a holder of the keys.
    #[error("the token is not one for servers; `keelson token create --server` on a server makes one")]
    NotForServers,
    /// The keys cannot be read, or the store has no members.
    #[error("{0}")]
    Unavailable(String),
}

/// What is handed over; awaited, because the store may be asked.
pub type Handed<'a> = Pin<Box<dyn Future<Output = Result<Value, HandoverError>> + Send + 'a>>;

/// Who has the keys.
pub trait Handover: Send + Sync + std::fmt::Debug {
    /// Files, peers and facts, for whoever shows this token.
    fn hand_over<'a>(&'a self, id: &'a str, secret: &'a str) -> Handed<'a>;
}

/// Answers a server that joins.
pub(crate) async fn answer(api: &ApiServer, request: &Request) -> Result<Answer, Status> {
    if request.info.verb != Verb::Get {
        return Err(Status::method_not_allowed());
    }
    let refused = |why: HandoverError| Status {
        message: why.to_string(),
        ..Status::access_denied(&api::status::Denied {
            user: &request.user.name,
            verb: "get",
            is_resource_request: false,
            path: PATH,
            group: "",
            resource: "",
            subresource: "",
            namespace: "",
            name: "",
            reason: "",
        })
    };
    let shown = authentication::bearer(&request.headers).and_then(pki::bootstrap_parts);
    // An impersonated group is not a token.
    let Some((id, secret)) = shown.filter(|_| request.user.is_in(SERVERS)) else {
        return Err(refused(HandoverError::NotForServers));
    };
    match api.handover.hand_over(id, secret).await {
        Ok(handed) => {
            tracing::info!(token = id, "a further server was given the cluster's keys");
            Ok(Answer::json(&handed))
        }
        Err(why @ HandoverError::NotForServers) => Err(refused(why)),
        Err(why) => Err(Status::service_unavailable(why.to_string())),
    }
}

//! Requests that leave for a node: logs, streams, proxies.
//!
//! ```text
//!   log                        GET ─► kubelet /containerLogs, its body as it comes
//!   exec attach portforward    upgrade ─► kubelet, then bytes both ways
//!   proxy                      anything ─► kubelet or pod
//! ```
//!
//! What the streams carry is not looked at. **Invariants.** A kubelet is believed only with a certificate of the
//! cluster's authority; nothing of the client's credentials goes on to it; a stream ends with the server.

mod exchange;
mod location;
mod log;
mod proxy;
mod sessions;
mod upgrade;

use std::net::SocketAddr;

use api::kind::{Kind, Subresource};
use api::status::{Reason, Status};
use http::{Method, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use serde_json::Value;

pub(crate) use exchange::{Exchange, end_to_end, streamed};
pub use sessions::Sessions;
pub(crate) use upgrade::{is_upgrade, pass_on};

use crate::answer::{Answer, Body};
use crate::api_server::ApiServer;
use crate::registry;
use crate::request::Request;

/// What of a request is passed on as it came.
pub struct Wire {
    /// Its method.
    pub method: Method,
    /// Its path and query, escaped.
    pub uri: Uri,
    /// Its body.
    pub body: Incoming,
    /// What it can become.
    pub upgrade: Option<OnUpgrade>,
}

/// Answers a request for a subresource that connects.
pub async fn connect(
    api: &ApiServer,
    request: &Request,
    kind: &'static Kind,
    row: &Subresource,
    wire: Wire,
) -> Result<Answer, Status> {
    let info = &request.info;
    match (kind.resource, row.name) {
        ("pods", "log") => {
            let pod = object(api, kind, &info.namespace, &info.name)?;
            log::get(api, request, &pod).await
        }
        ("pods", "exec" | "attach" | "portforward") => {
            upgrade::may_create(api, request)?;
            let pod = object(api, kind, &info.namespace, &info.name)?;
            upgrade::stream(api, request, &pod, wire).await
        }
        ("pods", "proxy") => proxy::pod(api, request, kind, wire).await,
        ("services", "proxy") => proxy::service(api, request, kind, wire).await,
        ("nodes", "proxy") => proxy::node(api, request, wire).await,
        _ => Err(Status::method_not_supported(kind.qualified_resource(), info.verb.as_str())),
    }
}

/// An object that must be there.
fn object(api: &ApiServer, kind: &'static Kind, namespace: &str, name: &str) -> Result<Value, Status> {
    let (_, object) = registry::read(&api.server, kind, &registry::object_key(kind, namespace, name))?;
    object.ok_or_else(|| Status::not_found(kind.qualified_resource(), name))
}

/// Where the kubelet of a node listens.
fn node_of(api: &ApiServer, name: &str) -> Result<SocketAddr, Status> {
    let kind = api.server.registry.by_resource("", "v1", "nodes").ok_or_else(Status::no_such_path)?;
    let node = object(api, kind, "", name)?;
    api.kubelets.address(&node).map_err(plain_failure)
}

/// A failure that has no reason of the API's own.
fn plain_failure(message: String) -> Status {
    Status { success: false, code: 500, reason: Reason::Unknown, message, details: None }
}

fn empty(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = code;
    response
}

//! `exec`, `attach`, `portforward`: the request goes on to the pod's kubelet, and after its 101 the bytes do,
//! both ways and undecoded.
//!
//! A WebSocket asks with GET, which is `get` to RBAC; because that would let readers run commands, it needs the
//! right to `create` as well (upstream since 1.35).
//!
//! Reference: KEP-4006; kubernetes issue 133515.

use api::kind::Verb;
use api::path::RequestInfo;
use api::status::Status;
use http::header::UPGRADE;
use http::{HeaderMap, Request as HttpRequest};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Wire, location, node_of, plain_failure};
use crate::answer::Answer;
use crate::api_server::ApiServer;
use crate::request::Request;

/// Answers a get or create of a pod's streams.
pub(super) async fn stream(
    api: &ApiServer,
    request: &Request,
    pod: &Value,
    wire: Wire,
) -> Result<Answer, Status> {
    let path = location::stream(pod, &request.info.subresource, &request.query)?;
    let node = location::node(pod);
    if node.is_empty() {
        let why = format!("pod {} does not have a host assigned", request.info.name);
        return Err(Status::bad_request(why));
    }
    let address = node_of(api, node)?;
    if !is_upgrade(request) {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let dialled = api.kubelets.dial(address).await;
    let stream = dialled.map_err(|error| plain_failure(format!("error dialing backend: {error}")))?;
    pass_on(api, request.headers.clone(), wire, &format!("https://{address}{path}"), stream).await
}

/// Who may `get` must be allowed to `create` as well.
pub(super) fn may_create(api: &ApiServer, request: &Request) -> Result<(), Status> {
    let info = RequestInfo { verb: Verb::Create, ..request.info.clone() };
    api.server.authorizer.require(&api.server.caches, &request.user, &info).map(drop)
}

/// Whether the client wants the connection to become something else.
pub(crate) fn is_upgrade(request: &Request) -> bool {
    request.headers.contains_key(UPGRADE)
}

/// Sends an upgrade on over `stream`; splices where the other side agrees.
pub(crate) async fn pass_on<T>(
    api: &ApiServer,
    headers: HeaderMap,
    wire: Wire,
    to: &str,
    stream: T,
) -> Result<Answer, Status>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(place) = api.sessions.place() else {
        return Err(Status::too_many_requests("too many streams are open, please try again later", 1));
    };
    let to = to.parse().map_err(Status::internal)?;
    let mut onward = HttpRequest::new(());
    *onward.method_mut() = wire.method;
    *onward.headers_mut() = headers;
    if let Some(upgrade) = wire.upgrade {
        onward.extensions_mut().insert(upgrade);
    }
    let (answer, splice) = streaming::proxy::forward(onward, &to, stream)
        .await
        .map_err(|error| plain_failure(format!("error dialing backend: {error}")))?;
    if let Some(splice) = splice {
        api.sessions.run(place, async {
            if let Err(error) = splice.run().await {
                tracing::debug!(%error, "a stream to a kubelet ended");
            }
        });
    }
    Ok(Answer::Raw(Box::new(answer.map(|body| body.map_err(|never| match never {}).boxed_unsync()))))
}

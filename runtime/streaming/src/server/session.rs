//! From a request to a session: the token, the protocol, the answer; then the session itself.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::tokens::Tokens;
use crate::backend::Backend;
use crate::handshake::{self, Agreement, Refusal};
use crate::portforward;
use crate::remotecommand::{self, Protocol, accept, session};
use crate::request::{Request, Streams};
use crate::websocket::{Role, Tunnel};

/// How long a client may take to read the 101.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(30);

/// A session that waits for its connection to stop being HTTP.
pub struct Session {
    upgrade: OnUpgrade,
    websocket: bool,
    protocol: &'static str,
    request: Request,
}

/// The part of the path that says what a token is for.
pub fn kind(request: &Request) -> &'static str {
    match request {
        Request::Exec(_) => "exec",
        Request::Attach(_) => "attach",
        Request::PortForward(_) => "portforward",
    }
}

/// Answers one request; with a 101 comes its session.
pub fn open(mut http: http::Request<Incoming>, tokens: &Tokens) -> (Response<String>, Option<Session>) {
    if !matches!(*http.method(), Method::GET | Method::POST) {
        let text = "405: Method Not Allowed".into();
        let refusal = Refusal { status: StatusCode::METHOD_NOT_ALLOWED, text, accepted: Vec::new() };
        let mut answer = refusal.answer();
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
        return (answer, None);
    }
    let Some(request) = requested(http.uri().path(), tokens) else {
        return (Refusal::not_found().answer(), None);
    };
    let websocket = handshake::is_websocket(http.headers());
    match agree(http.headers(), http.method(), &request, websocket) {
        Ok(Agreement { protocol, answer }) => {
            let upgrade = hyper::upgrade::on(&mut http);
            (answer.map(|()| String::new()), Some(Session { upgrade, websocket, protocol, request }))
        }
        Err(refusal) => (refusal.answer(), None),
    }
}

/// The request behind `/kind/token`. A token spent on the wrong kind is spent.
fn requested(path: &str, tokens: &Tokens) -> Option<Request> {
    let (wanted, token) = path.strip_prefix('/')?.split_once('/')?;
    let request = tokens.take(token)?;
    (kind(&request) == wanted).then_some(request)
}

fn agree(
    headers: &HeaderMap,
    method: &Method,
    request: &Request,
    websocket: bool,
) -> Result<Agreement, Refusal> {
    let forward = matches!(request, Request::PortForward(_));
    if websocket {
        if method != Method::GET {
            let text = "bad method".into();
            return Err(Refusal { status: StatusCode::METHOD_NOT_ALLOWED, text, accepted: Vec::new() });
        }
        let known =
            if forward { portforward::WEBSOCKET_PROTOCOLS } else { remotecommand::WEBSOCKET_PROTOCOLS };
        return handshake::websocket(headers, known);
    }
    let known = if forward { portforward::SPDY_PROTOCOLS } else { remotecommand::SPDY_PROTOCOLS };
    handshake::spdy(headers, known)
}

// === impl Session ===

impl Session {
    /// Runs to the end of the session.
    pub async fn run(self, backend: Arc<dyn Backend>, idle: Duration) {
        let io = match timeout(UPGRADE_TIMEOUT, self.upgrade).await {
            Ok(Ok(upgraded)) => TokioIo::new(upgraded),
            Ok(Err(_)) | Err(_) => {
                tracing::debug!(kind = kind(&self.request), "a client left before its session began");
                return;
            }
        };
        tracing::debug!(kind = kind(&self.request), protocol = self.protocol, "a session begins");
        match self.request {
            Request::Exec(exec) => {
                let streams = exec.streams();
                if let Some(session) = begin(io, self.websocket, self.protocol, streams, idle).await {
                    session::exec(session, backend.as_ref(), exec).await;
                }
            }
            Request::Attach(attach) => {
                let streams = attach.streams();
                if let Some(session) = begin(io, self.websocket, self.protocol, streams, idle).await {
                    session::attach(session, backend.as_ref(), attach).await;
                }
            }
            Request::PortForward(forward) if self.protocol == portforward::TUNNEL_PROTOCOL => {
                let tunnel = Tunnel::new(io, Role::Server).await;
                portforward::serve_spdy(tunnel, backend, forward.sandbox, idle).await;
            }
            Request::PortForward(forward) if self.websocket => {
                let base64 = self.protocol.contains("base64.");
                portforward::serve_channels(io, base64, backend, forward.sandbox, forward.ports, idle).await;
            }
            Request::PortForward(forward) => {
                portforward::serve_spdy(io, backend, forward.sandbox, idle).await;
            }
        }
    }
}

async fn begin(
    io: TokioIo<hyper::upgrade::Upgraded>,
    websocket: bool,
    protocol: &'static str,
    streams: Streams,
    idle: Duration,
) -> Option<session::Session> {
    let protocol = Protocol::named(protocol);
    if websocket {
        return Some(accept::websocket(io, protocol, streams, idle).await);
    }
    match accept::spdy(io, protocol, streams, idle).await {
        Ok(session) => Some(session),
        Err(error) => {
            tracing::info!(error = &error as &dyn std::error::Error, "a session did not begin");
            None
        }
    }
}

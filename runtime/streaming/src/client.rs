//! The client's side: an HTTP/1.1 request that becomes SPDY or WebSocket, and sessions on top of it.
//!
//! The caller brings the connection (TCP, TLS, a test's pipe), so what is not here is dialling and names.
//! Exec and attach are one and the same protocol: [`remotecommand`].

pub mod portforward;
pub mod remotecommand;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::task::AbortOnDropHandle;

use crate::handshake::{PROTOCOL_VERSION, SPDY_31};

/// How long a server may take to answer the request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a refusal's text is kept.
const MAX_REFUSAL: usize = 16 * 1024;

/// A connection that is not HTTP any more.
pub type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

/// An answer, and what drives the connection that it comes from.
pub(crate) struct Exchange {
    pub answer: Response<Incoming>,
    _connection: AbortOnDropHandle<()>,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the address has no host or no path")]
    Address,
    #[error("the server does not speak HTTP/1.1 as expected")]
    Http(#[from] hyper::Error),
    #[error("the server did not answer within {0:?}")]
    TimedOut(Duration),
    #[error("the server answered {status}: {text}")]
    Refused { status: StatusCode, text: String },
    #[error("the server's answer is too large to be passed on")]
    AnswerTooLarge,
    #[error("the server upgraded to something that was not asked for")]
    WrongProtocol,
    #[error("the kernel gave no random bytes for a WebSocket key")]
    Entropy(#[source] std::io::Error),
    #[error("a stream could not be opened")]
    Stream(#[from] crate::spdy::ConnectionError),
}

/// Upgrades to SPDY and gives the protocol that the server chose.
pub async fn spdy<T>(io: T, to: &Uri, protocols: &[&str]) -> Result<(Upgraded, String), ClientError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = request(Method::POST, to, SPDY_31)?;
    for protocol in protocols {
        append(request.headers_mut(), &PROTOCOL_VERSION, protocol)?;
    }
    let exchange = switched(send(io, request).await?).await?;
    let chosen = header(exchange.answer.headers(), &PROTOCOL_VERSION);
    if !protocols.contains(&chosen.as_str()) {
        return Err(ClientError::WrongProtocol);
    }
    Ok((exchange.upgraded().await?, chosen))
}

/// Upgrades to WebSocket and gives the subprotocol that the server chose.
pub async fn websocket<T>(io: T, to: &Uri, protocols: &[&str]) -> Result<(Upgraded, String), ClientError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let key = STANDARD.encode(crate::entropy::bytes::<16>().map_err(ClientError::Entropy)?);
    let mut request = request(Method::GET, to, "websocket")?;
    append(request.headers_mut(), &SEC_WEBSOCKET_KEY, &key)?;
    append(request.headers_mut(), &SEC_WEBSOCKET_VERSION, "13")?;
    if !protocols.is_empty() {
        append(request.headers_mut(), &SEC_WEBSOCKET_PROTOCOL, &protocols.join(", "))?;
    }
    let exchange = switched(send(io, request).await?).await?;
    let headers = exchange.answer.headers();
    let chosen = header(headers, &SEC_WEBSOCKET_PROTOCOL);
    let known = protocols.contains(&chosen.as_str()) || (chosen.is_empty() && protocols.is_empty());
    if !known || header(headers, &SEC_WEBSOCKET_ACCEPT) != derive_accept_key(key.as_bytes()) {
        return Err(ClientError::WrongProtocol);
    }
    Ok((exchange.upgraded().await?, chosen))
}

/// Sends one request over a connection of its own.
pub(crate) async fn send<T>(io: T, request: Request<Empty<Bytes>>) -> Result<Exchange, ClientError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let exchange = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // What goes wrong here shows in the answer.
            let _ = connection.with_upgrades().await;
        }));
        let answer = sender.send_request(request).await?;
        Ok(Exchange { answer, _connection: connection })
    };
    timeout(ANSWER_TIMEOUT, exchange).await.map_err(|_| ClientError::TimedOut(ANSWER_TIMEOUT))?
}

// === impl Exchange ===

impl Exchange {
    /// The connection, once it has stopped being HTTP.
    pub async fn upgraded(self) -> Result<Upgraded, ClientError> {
        Ok(TokioIo::new(hyper::upgrade::on(self.answer).await?))
    }
}

pub(crate) fn nothing() -> Empty<Bytes> {
    Empty::new()
}

/// The address as it stands in a request line.
pub(crate) fn path_of(to: &Uri) -> Result<Uri, ClientError> {
    let path = to.path_and_query().ok_or(ClientError::Address)?;
    path.as_str().parse().map_err(|_| ClientError::Address)
}

fn request(method: Method, to: &Uri, upgrade: &str) -> Result<Request<Empty<Bytes>>, ClientError> {
    let host = to.authority().ok_or(ClientError::Address)?.as_str();
    Request::builder()
        .method(method)
        .uri(path_of(to)?)
        .header(HOST, host)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, upgrade)
        .body(nothing())
        .map_err(|_| ClientError::Address)
}

fn append(headers: &mut HeaderMap, name: &HeaderName, value: &str) -> Result<(), ClientError> {
    headers.append(name, value.parse().map_err(|_| ClientError::WrongProtocol)?);
    Ok(())
}

fn header(headers: &HeaderMap, name: &HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_string()
}

/// Lets only a 101 pass; any other answer becomes an error with its text.
async fn switched(exchange: Exchange) -> Result<Exchange, ClientError> {
    let status = exchange.answer.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(exchange);
    }
    let text = match Limited::new(exchange.answer.into_body(), MAX_REFUSAL).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim_end().to_string(),
        Err(_) => String::new(),
    };
    Err(ClientError::Refused { status, text })
}

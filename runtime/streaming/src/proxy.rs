//! Passes an upgraded connection on without decoding it: what kubelet and API server do with exec, attach
//! and port-forward.
//!
//! ```text
//! client ──request──▶ forward() ──same request, other address──▶ backend
//!        ◀──answer─────────────── its answer, 101 or not ───────
//!        ◀═════════════════ splice() after a 101 ══════════════▶
//! ```
//!
//! **Invariants.** Nothing of the client's credentials goes on: neither Authorization nor Cookie. Of a WebSocket the
//! client gets every frame in a write of its own.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, HOST, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};

use crate::client::{self, ClientError};
use crate::websocket::FrameByFrame;

/// How much is read at once in each direction.
const BUFFER: usize = 32 * 1024;
/// The largest answer that is passed on instead of an upgrade.
const MAX_ANSWER: usize = 64 * 1024;
/// How long a client may take to finish its side of the upgrade.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(30);

/// What has to be spliced once the client has its 101.
pub struct Splice {
    client: OnUpgrade,
    backend: client::Upgraded,
    websocket: bool,
}

/// Sends the client's request to `to` over `io`, and gives the answer for the client. With a 101 comes the
/// rest of the work, to be awaited after the answer is returned.
pub async fn forward<B, T>(
    mut request: Request<B>,
    to: &Uri,
    io: T,
) -> Result<(Response<Full<Bytes>>, Option<Splice>), ClientError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let on_upgrade = hyper::upgrade::on(&mut request);
    let (mut head, _) = request.into_parts();
    head.headers.remove(AUTHORIZATION);
    head.headers.remove(COOKIE);
    let authority = to.authority().ok_or(ClientError::Address)?;
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| ClientError::Address)?;
    head.headers.insert(HOST, host);
    head.uri = client::path_of(to)?;
    let exchange = client::send(io, Request::from_parts(head, client::nothing())).await?;
    if exchange.answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (head, body) = exchange.answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|_| ClientError::AnswerTooLarge)?;
        return Ok((Response::from_parts(head, Full::new(body.to_bytes())), None));
    }
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = exchange.answer.headers().clone();
    let protocol = answer.headers().get(UPGRADE).map(HeaderValue::as_bytes);
    let websocket = protocol.is_some_and(|name| name.eq_ignore_ascii_case(b"websocket"));
    let backend = exchange.upgraded().await?;
    Ok((answer, Some(Splice { client: on_upgrade, backend, websocket })))
}

/// Copies both ways until both have ended; gives the bytes of each direction.
pub async fn splice<A, B>(mut a: A, mut b: B) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    copy_bidirectional_with_sizes(&mut a, &mut b, BUFFER, BUFFER).await
}

// === impl Splice ===

impl Splice {
    /// Runs until either end is gone.
    pub async fn run(self) -> io::Result<(u64, u64)> {
        let client = tokio::time::timeout(UPGRADE_TIMEOUT, self.client)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
            .map_err(io::Error::other)?;
        let client = TokioIo::new(client);
        if self.websocket {
            return splice(FrameByFrame::new(client), self.backend).await;
        }
        splice(client, self.backend).await
    }
}

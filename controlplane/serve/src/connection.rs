//! One connection: handshake, then requests until it ends or the server drains.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, Response};
use http_body::Body as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::linger::{self, Lent};
use crate::listener::{BodyError, Handler};

/// What is known of a request's connection.
#[derive(Clone, Debug)]
pub struct ConnInfo {
    /// Who connected.
    pub peer: SocketAddr,
    /// The certificates that the peer showed and has the key of, leaf first; not judged.
    pub certificates: Arc<[CertificateDer<'static>]>,
}

/// Bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; further ones wait in the kernel's queue.
    pub connections: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For a request's headers, and for the first request of a connection.
    pub headers: Duration,
    /// Bytes of a request's headers, packed or not: a client may have many under way, and few bytes can mean many.
    pub header_bytes: u32,
    /// HTTP/2 streams at once on a connection; watches pile up on one, so this is not small (Go: 250).
    pub streams: u32,
    /// An idle HTTP/2 connection is asked for a sign of life this often...
    pub ping_every: Duration,
    /// ...and closed where none comes in this time.
    pub ping_timeout: Duration,
    /// What requests under way get to finish when the server stops.
    pub drain: Duration,
    /// What a client that is still sending gets to read the last answer, before the connection is cut.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 8192,
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(32),
            header_bytes: 64 << 10,
            streams: 1000,
            ping_every: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(15),
            drain: Duration::from_secs(60),
            linger: Duration::from_secs(1),
        }
    }
}

/// HTTP/2 flow control: a stream's window, and a connection's.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of an HTTP/2 stream that wait for a client to read.
const SEND_BUFFER: usize = 128 << 10;

pub(crate) async fn serve<H: Handler>(
    stream: TcpStream,
    peer: SocketAddr,
    tls: TlsAcceptor,
    handler: Arc<H>,
    limits: Limits,
    stopping: CancellationToken,
) {
    // Small answers must not wait for the next one; a socket that refuses this works without.
    let _ = stream.set_nodelay(true);
    let (stream, back) = linger::lend(stream);
    converse(stream, peer, tls, handler, limits, stopping.clone()).await;
    // Whoever stops has answered what was asked, and waits for no idle client.
    if !stopping.is_cancelled() {
        linger::close(back, limits.linger).await;
    }
}

/// All that is said on a connection.
async fn converse<H: Handler>(
    stream: Lent,
    peer: SocketAddr,
    tls: TlsAcceptor,
    handler: Arc<H>,
    limits: Limits,
    stopping: CancellationToken,
) {
    let stream = match tokio::time::timeout(limits.handshake, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
    };
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let info = ConnInfo { peer, certificates: certificates.iter().map(|c| c.clone().into_owned()).collect() };
    let (asked, mut has_asked) = watch::channel(false);
    let service = service_fn(move |request: http::Request<Incoming>| {
        asked.send_if_modified(|asked| !std::mem::replace(asked, true));
        let is_head = request.method() == Method::HEAD;
        let answer = handler.clone().handle(info.clone(), request);
        async move {
            let answer = answer.await;
            Ok::<_, std::convert::Infallible>(if is_head { without_body(answer) } else { answer })
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // No `pipeline_flush`: it takes a body into memory as fast as it is made, whatever the client reads.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .max_buf_size(limits.header_bytes as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_bytes)
        .max_send_buf_size(SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(limits.ping_every)
        .keep_alive_timeout(limits.ping_timeout);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // Before the first byte of a request no timer of the protocols runs, and a place must not be held for nothing.
    let silent = async {
        let first = has_asked.wait_for(|asked| *asked);
        if tokio::time::timeout(limits.headers, first).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = silent => return tracing::debug!(%peer, "connection closed: no request came"),
        () = stopping.cancelled() => {
            // GOAWAY, or `Connection: close`: requests under way are finished, no new ones are taken.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// The answer to HEAD. hyper leaves the body away in HTTP/1.1 alone, and a client of HTTP/2 gives up where one comes.
fn without_body(
    response: Response<UnsyncBoxBody<Bytes, BodyError>>,
) -> Response<UnsyncBoxBody<Bytes, BodyError>> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.entry(CONTENT_LENGTH).or_insert(length.into());
    }
    Response::from_parts(head, Empty::new().map_err(|never| match never {}).boxed_unsync())
}

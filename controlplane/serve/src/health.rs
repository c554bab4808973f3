//! Health and metrics of one part: small answers to plain GETs.
//!
//! Not for anything that needs to know who asks: these say whether a part is well, on loopback, or to a load
//! balancer that knows no certificates. HTTP/1.1 alone; bodies of requests are not read.
//!
//! **Invariants.** Connections, headers and waits are bounded; an answer is made at once, or off the reactor.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::ListenError;
use crate::listener::accept;

/// Askers at once; further ones wait.
const CONNECTIONS: usize = 64;
/// For a request's headers, also of the next request on a kept connection.
const HEADERS: Duration = Duration::from_secs(10);

/// What is answered to one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The HTTP status code.
    pub code: u16,
    /// The media type of the body.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

impl Report {
    /// Text, as most checks answer.
    pub fn text(code: u16, body: impl Into<String>) -> Report {
        Report { code, content_type: "text/plain; charset=utf-8", headers: Vec::new(), body: body.into() }
    }

    /// JSON.
    pub fn json(code: u16, body: impl Into<String>) -> Report {
        Report { code, content_type: "application/json", headers: Vec::new(), body: body.into() }
    }

    /// There is no such path.
    pub fn missing() -> Report {
        Report::text(404, "404 page not found\n")
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

/// A bound socket for health and metrics.
#[derive(Debug)]
pub struct HealthListener {
    socket: TcpListener,
    /// Where it listens; the port is known even if 0 was asked for.
    pub address: SocketAddr,
}

impl HealthListener {
    /// Binds an address.
    pub async fn bind(address: SocketAddr) -> Result<HealthListener, ListenError> {
        let failed = |source| ListenError::Bind { address, source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(HealthListener { socket, address })
    }

    /// Answers GETs with what `report` says to their path, until `stopping`.
    pub async fn serve(
        self,
        report: impl Fn(&str) -> Report + Send + Sync + 'static,
        stopping: CancellationToken,
    ) {
        self.serve_later(move |path| std::future::ready(report(path)), stopping).await;
    }

    /// The same where answers take a while.
    pub async fn serve_later<F: Future<Output = Report> + Send + 'static>(
        self,
        report: impl Fn(&str) -> F + Send + Sync + 'static,
        stopping: CancellationToken,
    ) {
        let report = Arc::new(report);
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stopping.cancelled() => break,
                accepted = accept(&self.socket, &places) => accepted,
                Some(_) = connections.join_next() => continue,
            };
            let Some((stream, peer, place)) = accepted else { continue };
            let report = report.clone();
            connections.spawn(async move {
                converse(stream, peer, report).await;
                drop(place);
            });
        }
        // Answers are small and made at once: whoever still reads asks again elsewhere.
    }
}

async fn converse<F: Future<Output = Report>>(
    stream: TcpStream,
    peer: SocketAddr,
    report: Arc<impl Fn(&str) -> F>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer =
            matches!(*request.method(), Method::GET | Method::HEAD).then(|| report(request.uri().path()));
        async move {
            let answer = match answer {
                Some(answer) => answer.await,
                None => Report::text(405, "Method Not Allowed\n"),
            };
            Ok::<_, Infallible>(answer.into_response())
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%peer, %error, "a health connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn answers_paths() {
        let listener = HealthListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let (address, stopping) = (listener.address, CancellationToken::new());
        let report = |path: &str| match path {
            "/healthz" => Report {
                headers: vec![("x-content-type-options", "nosniff".into())],
                ..Report::text(200, "ok")
            },
            _ => Report::missing(),
        };
        let serving = tokio::spawn(listener.serve(report, stopping.clone()));
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let well = ask(address, &get("/healthz?verbose")).await;
        assert!(well.starts_with("HTTP/1.1 200 OK") && well.ends_with("\r\n\r\nok"), "{well}");
        assert!(well.contains("x-content-type-options: nosniff"), "{well}");
        assert!(ask(address, &get("/other")).await.starts_with("HTTP/1.1 404"));
        let post = "POST /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        assert!(ask(address, post).await.starts_with("HTTP/1.1 405"));
        stopping.cancel();
        serving.await.unwrap();
    }
}

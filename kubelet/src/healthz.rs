//! /healthz on loopback, for whoever supervises this process.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections served at one time; more wait.
const CONNECTIONS_MAX: usize = 16;

/// Serves until `stopping`.
pub async fn serve(port: u16, stopping: CancellationToken) -> std::io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                let (stream, _) = accepted?;
                let served = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service_fn(answer));
                // A client that breaks off is no matter.
                connections.spawn(async move { drop(served.await) });
            }
        }
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_known = matches!(request.uri().path(), "/healthz" | "/livez" | "/readyz");
    let (code, body) =
        if is_known { (StatusCode::OK, "ok") } else { (StatusCode::NOT_FOUND, "404 page not found\n") };
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = code;
    Ok(response)
}

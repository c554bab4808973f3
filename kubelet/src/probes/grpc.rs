//! gRPC: the standard health service, `grpc.health.v1.Health/Check`, over plaintext HTTP/2.
//!
//! The two messages have one field each, so they are written and read here without generated code.
//!
//! Reference: the gRPC health checking protocol; KEP-2727.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::address::dial_error;
use super::track::Outcome;

const PATH: &str = "/grpc.health.v1.Health/Check";
/// Length prefix of a gRPC message: a flag and 32 bits.
const PREFIX: usize = 5;
const MOST_ANSWER: usize = 4096;
const UNIMPLEMENTED: &str = "12";

pub(super) async fn attempt(address: SocketAddr, service: &str, limit: Duration) -> Outcome {
    match timeout(limit, check(address, service)).await {
        Ok(Ok(1)) => Outcome::Success,
        Ok(Ok(status)) => {
            Outcome::Failure(format!("service unhealthy (responded with {:?})", status_name(status)))
        }
        Ok(Err(why)) => Outcome::Failure(why),
        Err(_) => Outcome::Failure(format!("timeout: health rpc did not complete within {limit:?}")),
    }
}

async fn check(address: SocketAddr, service: &str) -> Result<u64, String> {
    let unreachable =
        |why: String| format!("error: failed to connect service {:?}: {why}", address.to_string());
    let stream =
        TcpStream::connect(address).await.map_err(|error| unreachable(dial_error(address, &error)))?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    let _driver = AbortOnDropHandle::new(tokio::spawn(async move {
        // What goes wrong here shows in the answer.
        let _ = connection.await;
    }));
    let request = Request::post(format!("http://{address}{PATH}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.36")
        .body(Full::new(message(service)))
        .map_err(|error| error.to_string())?;
    let failed = |why: String| format!("error: health rpc failed: {why}");
    let answer = sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
    // A call that fails at once says so in its headers.
    refusal(answer.headers())?;
    let body = Limited::new(answer.into_body(), MOST_ANSWER).collect().await;
    let body = body.map_err(|error| failed(error.to_string()))?;
    if let Some(trailers) = body.trailers() {
        refusal(trailers)?;
    }
    status_in(&body.to_bytes()).ok_or_else(|| failed("the answer is no HealthCheckResponse".into()))
}

/// The error in headers or trailers.
fn refusal(headers: &HeaderMap) -> Result<(), String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text("grpc-status") {
        "" | "0" => Ok(()),
        UNIMPLEMENTED => Err(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
            text("grpc-message")
        )),
        code => {
            Err(format!("error: health rpc failed: rpc error: code = {code} desc = {}", text("grpc-message")))
        }
    }
}

/// A HealthCheckRequest in its frame: field 1 is the service's name.
fn message(service: &str) -> Bytes {
    let mut fields = Vec::new();
    if !service.is_empty() {
        fields.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            fields.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        fields.push(length as u8);
        fields.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(fields.len() as u32).to_be_bytes());
    framed.extend_from_slice(&fields);
    framed.into()
}

/// The status in a HealthCheckResponse: field 1, a varint; zero where it is missing.
fn status_in(frame: &[u8]) -> Option<u64> {
    let (prefix, rest) = frame.split_at_checked(PREFIX)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?) as usize;
    let fields = rest.get(..length).filter(|_| prefix[0] == 0)?;
    match fields {
        [] => Some(0),
        [0x08, status] if *status < 0x80 => Some(u64::from(*status)),
        _ => None,
    }
}

fn status_name(status: u64) -> &'static str {
    match status {
        0 => "UNKNOWN",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "an unknown status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_as_they_are_on_the_wire() {
        assert_eq!(message("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(message("ab").as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(&message(&"x".repeat(200))[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
        for (frame, expect) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Some(1)),
            (&[0, 0, 0, 0, 2, 8, 2], Some(2)),
            (&[0, 0, 0, 0, 0], Some(0)),
            (&[1, 0, 0, 0, 2, 8, 1], None),
            (&[0, 0, 0, 0, 9, 8, 1], None),
            (&[0, 0], None),
        ] {
            assert_eq!(status_in(frame), expect, "{frame:?}");
        }
    }
}

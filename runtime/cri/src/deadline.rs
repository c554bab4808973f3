//! The caller's deadline, answered in the caller's words: DEADLINE_EXCEEDED.
//!
//! tonic ends a call at its `grpc-timeout` with CANCELLED, which the kubelet takes for its own doing. This
//! layer lies inside that timer and rings a moment before it. What the call had begun is finished all the
//! same: operations are tasks of their own.
//!
//! Reference: gRPC over HTTP/2, "Timeout".

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tower::{Layer, Service};

/// Timers ring on whole milliseconds: one earlier than the outer one.
const HEAD_START: Duration = Duration::from_millis(1);
/// The header has at most eight digits and a unit.
const DIGITS_MAX: usize = 8;

#[derive(Clone, Copy, Debug)]
pub struct DeadlineLayer;

#[derive(Clone, Debug)]
pub struct Deadline<S>(S);

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline(inner)
    }
}

impl<S> Service<Request<Body>> for Deadline<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let limit = timeout(request.headers());
        let answer = self.0.call(request);
        Box::pin(async move {
            let Some(limit) = limit else { return answer.await };
            match tokio::time::timeout(limit.saturating_sub(HEAD_START), answer).await {
                Ok(answer) => answer,
                Err(_) => Ok(Status::deadline_exceeded("context deadline exceeded").into_http()),
            }
        })
    }
}

/// `grpc-timeout: 30S`; one that cannot be read is none, as for every other server.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > DIGITS_MAX || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read() {
        for (text, expect) in [
            ("1m", Some(Duration::from_millis(1))),
            ("30S", Some(Duration::from_secs(30))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("999999999S", None),
            ("S", None),
            ("", None),
            ("1x", None),
            ("-1S", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            assert_eq!(timeout(&headers), expect, "{text:?}");
        }
    }
}

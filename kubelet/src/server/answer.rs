//! Answers and refusals of the kubelet: text as upstream writes it, and JSON.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use serve::BodyError;

/// A response's body.
pub(super) type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Why a request is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(code: u16, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }

    pub(super) fn into_response(self) -> Response<Body> {
        text(self.code, self.message)
    }
}

/// A plain text.
pub(super) fn text(code: u16, text: impl Into<String>) -> Response<Body> {
    whole(code, "text/plain; charset=utf-8", text.into())
}

/// A JSON document.
pub(super) fn json(value: &Value) -> Response<Body> {
    whole(200, "application/json", value.to_string())
}

fn whole(code: u16, content_type: &'static str, content: String) -> Response<Body> {
    with_body(code, content_type, Full::from(content).map_err(|never| match never {}).boxed_unsync())
}

/// Any body.
pub(super) fn with_body(code: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

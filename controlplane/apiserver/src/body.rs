//! Request bodies: bounded, and decoded by what the path is about.

use api::kind::Kind;
use api::path::{DeleteOptions, FieldValidation};
use api::status::Status;
use api::wire::{self, BodyOf};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::Value;

use crate::request::Request;

/// The largest body: upstream's limit.
const MOST_BYTES: usize = 3 << 20;

/// Reads a whole body.
pub async fn read(body: Incoming) -> Result<Bytes, Status> {
    match Limited::new(body, MOST_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Status::request_too_large(format!("limit is {MOST_BYTES}")))
        }
        Err(error) => Err(Status::bad_request(format!("reading the request's body: {error}"))),
    }
}

/// The Content-Type header.
pub fn content_type(request: &Request) -> &str {
    request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The object in a body: of the path's subresource where that has a kind of its own, otherwise of its kind; in
/// canonical form, with warnings about its fields.
pub fn object(
    request: &Request,
    kind: &'static Kind,
    body: &[u8],
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Status> {
    let wanted = match kind.subresource(&request.info.subresource) {
        // A status is a part of the object; every other subresource has a kind of its own.
        Some(sub) if sub.schema != kind.schema => BodyOf::from(sub),
        Some(_) => BodyOf::from(kind),
        None => BodyOf::from(kind),
    };
    let decoded = wire::decode_body(body, content_type(request), wanted, validation)?;
    Ok((decoded.object, decoded.warnings))
}

/// Options of a delete, from its body or, without one, from the query.
pub fn delete_options(request: &Request, body: &[u8]) -> Result<DeleteOptions, Status> {
    if body.is_empty() {
        return DeleteOptions::parse(&request.query);
    }
    DeleteOptions::from_body(&wire::decode_options(body, content_type(request))?)
}

//! Documents that clients keep: they carry the hash of their content, and whoever has that content is told so.
//!
//! | asked with | answer |
//! |---|---|
//! | `If-None-Match` of the hash | 304 without a body |
//! | `?hash=` of the content | to be kept for a year |
//! | `?hash=` of something else | 301 to the right one |

use api::status::Status;
use bytes::Bytes;
use http::Response;
use http::header::{
    ACCEPT, CACHE_CONTROL, ETAG, EXPIRES, HeaderName, HeaderValue, IF_NONE_MATCH, LOCATION, VARY,
};

use crate::answer::{Answer, Body, document, nothing};
use crate::request::Request;

/// How long a client may keep what has its hash in its address.
const KEPT: jiff::SignedDuration = jiff::SignedDuration::from_hours(365 * 24);
/// RFC 1123.
const DATE: &str = "%a, %d %b %Y %H:%M:%S GMT";
const JSON: &str = "application/json";

/// A document with its hash; `make` is asked for the bytes only where they are sent.
pub(super) fn tagged(
    request: &Request,
    content_type: &str,
    hash: &str,
    make: impl FnOnce() -> Bytes,
) -> Response<Body> {
    let tag = format!("\"{hash}\"");
    let known = request.headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known.flat_map(|value| value.split(',')).any(|one| {
        let one = one.trim();
        one == "*" || one.trim_start_matches("W/") == tag
    });
    let mut response = if is_known { nothing(304) } else { document(200, content_type, make()) };
    set(&mut response, ETAG, &tag);
    set(&mut response, VARY, "Accept");
    response
}

/// The same for a document that has its hash in its address: `path` is the address without it.
pub(super) fn hashed(
    request: &Request,
    path: &str,
    hash: &str,
    make: impl FnOnce() -> Bytes,
) -> Response<Body> {
    let asked = request.query.get("hash").unwrap_or_default();
    if !asked.is_empty() && asked != hash {
        let mut response = nothing(301);
        set(&mut response, LOCATION, &format!("{path}?hash={hash}"));
        set(&mut response, ETAG, &format!("\"{hash}\""));
        set(&mut response, VARY, "Accept");
        return response;
    }
    let mut response = tagged(request, JSON, hash, make);
    if !asked.is_empty() {
        set(&mut response, CACHE_CONTROL, "public, immutable");
        set(&mut response, EXPIRES, &(request.now + KEPT).strftime(DATE).to_string());
    }
    response
}

/// Refuses clients that take no JSON, rather than sending them what they cannot read.
pub(super) fn takes_json(request: &Request) -> Result<(), Status> {
    let mut accepted =
        request.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    let takes = accepted.peek().is_none()
        || accepted.flat_map(|value| value.split(',')).any(|range| {
            let range = range.split(';').next().unwrap_or_default().trim();
            matches!(range, "" | "*/*" | "application/*" | JSON)
        });
    if takes { Ok(()) } else { Err(Status::not_acceptable(&[JSON])) }
}

/// As an answer.
pub(super) fn answer(response: Response<Body>) -> Answer {
    Answer::Raw(Box::new(response))
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

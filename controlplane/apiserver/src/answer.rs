//! Answers: what a verb found, and its bytes in the form that the client asked for.
//!
//! JSON of stored objects is passed on as it lies in the cache; every other form is made from it here.

mod chunked;
mod compress;
mod form;
mod list_body;
mod protobuf_list;
mod row;

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;

use api::kind::Kind;
use api::status::Status;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WARNING};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Map, Value, json};
use serve::BodyError;
use store::Revision;

pub use compress::compress;
pub use form::Form;
pub use row::Row;

use crate::audit::OBJECT_BYTES_MAX;
use crate::object::Object;

/// A response's body.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// What a verb found.
pub enum Answer {
    /// One object.
    Object {
        /// HTTP status.
        code: u16,
        /// Its row.
        kind: &'static Kind,
        /// The object.
        object: Shown,
        /// Sentences for the client's user.
        warnings: Vec<String>,
    },
    /// A page of objects.
    List(List),
    /// A stream of frames in the form that was asked for.
    Watch {
        /// The form.
        form: Form,
        /// The frames.
        frames: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    },
    /// Done, or not.
    Status(Status),
    /// A document that is no object: discovery, OpenAPI, health.
    Document {
        /// HTTP status.
        code: u16,
        /// Its media type.
        content_type: Cow<'static, str>,
        /// Its bytes.
        bytes: Bytes,
    },
    /// A response as somebody else gave it: a kubelet's stream, a pod's page.
    Raw(Box<Response<Body>>),
}

/// An object from the cache or one made for this answer.
pub enum Shown {
    /// In its stored form.
    Cached(Arc<Object>),
    /// In the form of the request's kind.
    Value(Value),
}

/// A page of a list.
pub struct List {
    /// The row.
    pub kind: &'static Kind,
    /// As of when.
    pub revision: Revision,
    /// In their stored form.
    pub objects: Vec<Arc<Object>>,
    /// The `continue` token, where there is more.
    pub next: Option<String>,
    /// How many more, where that is known.
    pub remaining: Option<usize>,
}

impl List {
    /// Its ListMeta.
    fn metadata(&self) -> Map<String, Value> {
        let mut metadata = Map::new();
        metadata.insert("resourceVersion".into(), self.revision.to_string().into());
        if let Some(next) = &self.next {
            metadata.insert("continue".into(), next.as_str().into());
        }
        if let Some(remaining) = self.remaining {
            metadata.insert("remainingItemCount".into(), remaining.into());
        }
        metadata
    }
}

impl Answer {
    /// One object of the kind.
    pub fn object(code: u16, kind: &'static Kind, object: Shown) -> Answer {
        Answer::Object { code, kind, object, warnings: Vec::new() }
    }

    /// An object of another kind than the path's: a Scale, a TokenRequest, a review.
    pub fn subobject(code: u16, kind: &'static Kind, object: Value) -> Answer {
        Answer::object(code, kind, Shown::Value(object))
    }

    /// A Status.
    pub fn status(status: Status) -> Answer {
        Answer::Status(status)
    }

    /// A JSON document.
    pub fn json(value: &Value) -> Answer {
        Answer::Document {
            code: 200,
            content_type: "application/json".into(),
            bytes: value.to_string().into(),
        }
    }

    /// A line of text.
    pub fn text(code: u16, text: impl Into<String>) -> Answer {
        Answer::Document {
            code,
            content_type: "text/plain; charset=utf-8".into(),
            bytes: Bytes::from(text.into()),
        }
    }

    /// Adds sentences for the client's user.
    #[must_use]
    pub fn warn(mut self, more: Vec<String>) -> Answer {
        if let Answer::Object { warnings, .. } = &mut self {
            warnings.extend(more);
        }
        self
    }

    /// What is answered, as the audit tells it; nothing of streams and documents.
    pub fn told(&self, now: jiff::Timestamp) -> Option<Value> {
        let object = |kind, shown: &Shown| {
            let bytes = Form::JSON.object(kind, shown, now).ok()?;
            serde_json::from_slice::<Value>(&bytes).ok()
        };
        match self {
            Answer::Object { kind, object: shown, .. } => object(kind, shown),
            // As upstream: what is too large for the audit is not told.
            Answer::List(list)
                if list.objects.iter().map(|object| object.json.len()).sum::<usize>() > OBJECT_BYTES_MAX =>
            {
                None
            }
            Answer::List(list) => {
                let item = |found: &Arc<Object>| object(list.kind, &Shown::Cached(found.clone()));
                let items: Vec<Value> = list.objects.iter().filter_map(item).collect();
                let (kind, version) = (list.kind.list_kind(), list.kind.api_version());
                let metadata = json!({"resourceVersion": list.revision.to_string()});
                Some(json!({"kind": kind, "apiVersion": version, "metadata": metadata, "items": items}))
            }
            Answer::Status(status) => Some(status.to_value()),
            Answer::Watch { .. } | Answer::Document { .. } | Answer::Raw(_) => None,
        }
    }

    /// The HTTP response.
    pub fn respond(self, form: Form, now: jiff::Timestamp) -> Response<Body> {
        let result = match self {
            Answer::Object { code, kind, object, warnings } => form.object(kind, &object, now).map(|bytes| {
                let mut response = whole(code, form.content_type(), bytes);
                for warning in warnings {
                    if let Ok(value) = HeaderValue::from_str(&format!("299 - {}", quoted(&warning))) {
                        response.headers_mut().append(WARNING, value);
                    }
                }
                response
            }),
            Answer::List(list) => {
                form.list(list, now).map(|body| compressible(200, form.content_type(), body))
            }
            Answer::Watch { form, frames } => {
                let frames = frames.map(|bytes| Ok::<_, BodyError>(Frame::data(bytes)));
                Ok(with_body(200, form.stream_content_type(), StreamBody::new(frames).boxed_unsync()))
            }
            Answer::Status(status) => Ok(status_response(&status, form)),
            Answer::Document { code, content_type, bytes } => Ok(whole(code, &content_type, bytes)),
            Answer::Raw(response) => Ok(*response),
        };
        result.unwrap_or_else(|status| status_response(&status, form))
    }
}

/// A Status as a response: in the form's encoding, never as a table.
pub fn status_response(status: &Status, form: Form) -> Response<Body> {
    let (content_type, bytes) = form.status(status);
    let mut response = whole(status.code, content_type, bytes);
    if let Some(seconds) = status.retry_after_seconds() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Bytes of a media type.
pub fn document(code: u16, content_type: &str, bytes: Bytes) -> Response<Body> {
    whole(code, content_type, bytes)
}

/// A response without a body.
pub fn nothing(code: u16) -> Response<Body> {
    let mut response = whole(code, "", Bytes::new());
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

fn whole(code: u16, content_type: &str, bytes: Bytes) -> Response<Body> {
    compressible(code, content_type, Full::new(bytes).map_err(|never| match never {}).boxed_unsync())
}

/// Large ones are compressed on the way out.
fn compressible(code: u16, content_type: &str, body: Body) -> Response<Body> {
    let mut response = with_body(code, content_type, body);
    response.extensions_mut().insert(compress::Compressible);
    response
}

fn with_body(code: u16, content_type: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(content_type) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// RFC 9110 quoted-string; what cannot stand in a header becomes a space.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => quoted.push(' '),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

//! Who writes: the manager to whom the fields of a write belong.

use api::apply::{Of, Versions};
use api::kind::{Kind, Verb, builtin};
use api::schema;
use api::status::Status;
use api::wire::PatchType;
use http::header::USER_AGENT;
use serde_json::Value;

use crate::body;
use crate::request::Request;
use crate::strategy;

/// Upstream's bound on a manager's name.
const MOST_BYTES: usize = 128;

/// The other versions of a built-in kind. Those of a custom kind are looked at as one: a definition's versions without a
/// webhook have the same fields, and a webhook would have to be asked for each of several forms of an object.
pub struct Faces {
    /// The version that is written.
    pub kind: &'static Kind,
}

impl Faces {
    fn other(&self, api_version: &str) -> Option<&'static Kind> {
        let same = |kind: &&'static Kind| {
            kind.kind == self.kind.kind
                && kind.storage == self.kind.storage
                && kind.api_version() == api_version
        };
        (!self.kind.is_custom() && self.kind.storage.is_some()).then(|| builtin().find(same)).flatten()
    }
}

impl Versions for Faces {
    fn is_known(&self, api_version: &str) -> bool {
        if api_version == self.kind.api_version() || self.other(api_version).is_some() {
            return true;
        }
        let Some(custom) = self.kind.custom() else { return false };
        api_version
            .rsplit_once('/')
            .is_some_and(|(group, version)| group == self.kind.group && custom.has_version(version))
    }

    fn shown(&self, api_version: &str, object: &Value) -> Option<(Value, Of<'_>)> {
        let other = self.other(api_version)?;
        let of = schema::find(other.schema)?;
        let stored = strategy::to_stored(self.kind, object.clone());
        Some((strategy::from_stored(other, stored), Of::Type(of)))
    }

    fn taken(&self, object: Value) -> Value {
        let other = self.other(object["apiVersion"].as_str().unwrap_or_default());
        let Some(other) = other else { return object };
        strategy::from_stored(self.kind, strategy::to_stored(other, object))
    }
}

/// Whether the request is a server-side apply.
pub fn is_apply(request: &Request) -> bool {
    let patch_type = PatchType::of_content_type(body::content_type(request));
    request.info.verb == Verb::Patch && patch_type == Ok(PatchType::Apply)
}

/// Calls `act` with what a kind's objects are.
pub fn with_type<T>(kind: &'static Kind, act: impl FnOnce(Of<'_>) -> T) -> Result<T, Status> {
    if kind.is_custom() {
        let custom = kind.custom().ok_or_else(Status::no_such_path)?;
        return Ok(act(Of::Custom(&custom)));
    }
    let of = schema::find(kind.schema);
    Ok(act(Of::Type(of.ok_or_else(|| Status::internal(format!("no schema for {}", kind.kind)))?)))
}

/// Calls `act` with the writer of a request.
pub fn as_writer<T>(request: &Request, kind: &Kind, act: impl FnOnce(api::apply::Writer<'_>) -> T) -> T {
    let now = super::meta::time(request.now);
    act(api::apply::Writer {
        manager: &manager(request),
        api_version: &kind.api_version(),
        subresource: &request.info.subresource,
        now: now.as_str().unwrap_or_default(),
        has_status: kind.subresource("status").is_some(),
    })
}

/// Writes down what a write that is no apply has changed.
pub fn track(request: &Request, kind: &'static Kind, old: &Value, new: Value) -> Result<Value, Status> {
    with_type(kind, |of| {
        as_writer(request, kind, |writer| api::apply::track(old, new, of, writer, &Faces { kind }))
    })
}

/// What the request calls its manager; the program's name where it does not say.
fn manager(request: &Request) -> String {
    let named = request.query.get("fieldManager").filter(|name| !name.is_empty());
    let agent = request.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = named.unwrap_or_else(|| agent.split('/').next().unwrap_or_default());
    let end =
        name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= MOST_BYTES).last();
    name[..end.unwrap_or(0)].to_owned()
}

//! What one request leaves in the audit: its events, each told once.
//!
//! Clones are the same trail. A stream keeps one until its end, and the last of them to go tells ResponseComplete where
//! nobody has: a client that went away is told too.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use api::kind::Kind;
use api::path::{FieldValidation, RequestInfo};
use api::status::Status;
use api::wire::{self, BodyOf};
use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::Audit;
use super::policy::{Level, Stage, Verdict};
use crate::user::User;

/// Objects larger than this are not told.
pub const OBJECT_BYTES_MAX: usize = 3 << 20;

/// A request as the audit sees it.
pub struct Asked<'a> {
    /// Who connected.
    pub peer: SocketAddr,
    /// Who asks.
    pub user: &'a User,
    /// What.
    pub info: &'a RequestInfo,
    /// Path and query as they came.
    pub uri: &'a str,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// A new identifier, for requests that have none.
    pub id: String,
    /// The wall clock.
    pub clock: crate::server::Clock,
}

/// The trail of a request; empty where nobody audits.
#[derive(Clone, Default)]
pub struct Trail(Option<Arc<Entry>>);

struct Entry {
    audit: Arc<Audit>,
    verdict: Verdict,
    clock: crate::server::Clock,
    /// What is the same in every event.
    head: Map<String, Value>,
    received: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    impersonated: Option<Value>,
    object: Map<String, Value>,
    annotations: BTreeMap<String, String>,
    request: Option<Value>,
    response: Option<Value>,
    status: Option<Value>,
    complete: bool,
}

impl Trail {
    pub(super) fn begin(audit: Arc<Audit>, verdict: Verdict, asked: &Asked<'_>) -> Trail {
        let given = asked.headers.get("audit-id").and_then(|id| id.to_str().ok()).filter(|id| id.len() <= 64);
        let mut head = Map::new();
        head.insert("auditID".into(), given.unwrap_or(&asked.id).into());
        head.insert("requestURI".into(), asked.uri.into());
        head.insert("verb".into(), asked.info.verb.as_str().into());
        head.insert("user".into(), user(asked.user));
        head.insert("sourceIPs".into(), sources(asked.headers, asked.peer));
        if let Some(agent) = asked.headers.get(http::header::USER_AGENT).and_then(|agent| agent.to_str().ok())
        {
            head.insert("userAgent".into(), agent.chars().take(1024).collect::<String>().into());
        }
        let received = micros((asked.clock)());
        let state = State { object: reference(asked.info), ..State::default() };
        let clock = asked.clock.clone();
        let entry = Arc::new(Entry { audit, verdict, clock, head, received, state: Mutex::new(state) });
        entry.tell(Stage::RequestReceived, &mut entry.state());
        Trail(Some(entry))
    }

    /// The identifier, where there is a trail.
    pub fn id(&self) -> Option<&str> {
        self.0.as_ref()?.head["auditID"].as_str()
    }

    /// Whether what is sent, or answered, is told.
    pub fn wants_response(&self) -> bool {
        self.0.as_ref().is_some_and(|entry| entry.verdict.level >= Level::RequestResponse)
    }

    /// It is asked as somebody else.
    pub fn impersonated(&self, other: &User) {
        if let Some(entry) = &self.0 {
            entry.state().impersonated = Some(user(other));
        }
    }

    /// Notes something. The first value of a key stays, as upstream.
    pub fn annotate(&self, key: &str, value: impl FnOnce() -> String) {
        if let Some(entry) = &self.0 {
            entry.state().annotations.entry(key.to_owned()).or_insert_with(value);
        }
    }

    /// What was sent.
    pub fn sent(&self, kind: &'static Kind, subresource: &str, content_type: &str, body: &[u8]) {
        let Some(entry) = self.0.as_ref().filter(|_| !body.is_empty() && body.len() <= OBJECT_BYTES_MAX)
        else {
            return;
        };
        let Some(object) = decode(kind, subresource, content_type, body) else { return };
        let mut state = entry.state();
        for (name, found) in [
            ("namespace", "namespace"),
            ("name", "name"),
            ("uid", "uid"),
            ("resourceVersion", "resourceVersion"),
        ] {
            if let Some(text) = object["metadata"][found].as_str().filter(|text| !text.is_empty()) {
                state.object.entry(name).or_insert_with(|| text.into());
            }
        }
        if entry.verdict.level >= Level::Request {
            state.request = Some(object);
        }
    }

    /// What is answered, for levels that tell it.
    pub fn answered(&self, object: Option<Value>) {
        if let Some(entry) = &self.0 {
            entry.state().response = object;
        }
    }

    /// A stream begins.
    pub fn started(&self, code: u16) {
        if let Some(entry) = &self.0 {
            let mut state = entry.state();
            state.status = Some(json!({"metadata": {}, "code": code}));
            entry.tell(Stage::ResponseStarted, &mut state);
        }
    }

    /// It is over: well, with a code.
    pub fn complete(&self, code: u16) {
        self.end(Stage::ResponseComplete, json!({"metadata": {}, "code": code}));
    }

    /// It is over: refused or failed.
    pub fn failed(&self, status: &Status) {
        self.end(Stage::ResponseComplete, told(status));
    }

    /// Nobody knows who asks.
    pub fn unauthenticated(&self, status: &Status) {
        self.end(Stage::ResponseStarted, told(status));
    }

    fn end(&self, stage: Stage, status: Value) {
        let Some(entry) = &self.0 else { return };
        let mut state = entry.state();
        state.status = Some(status);
        if !std::mem::replace(&mut state.complete, true) {
            entry.tell(stage, &mut state);
        }
    }
}

impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Trail").field(&self.id()).finish()
    }
}

impl Entry {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, stage: Stage, state: &mut State) {
        if self.verdict.omitted.contains(&stage) {
            return;
        }
        let mut event = Map::new();
        event.insert("kind".into(), "Event".into());
        event.insert("apiVersion".into(), "audit.k8s.io/v1".into());
        event.insert("level".into(), self.verdict.level.as_str().into());
        event.insert("auditID".into(), self.head["auditID"].clone());
        event.insert("stage".into(), stage.as_str().into());
        for name in ["requestURI", "verb", "user"] {
            event.insert(name.into(), self.head[name].clone());
        }
        let more = [("impersonatedUser", state.impersonated.clone())];
        event.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        for name in ["sourceIPs", "userAgent"] {
            event.extend(self.head.get(name).map(|value| (name.to_owned(), value.clone())));
        }
        if !state.object.is_empty() {
            event.insert("objectRef".into(), state.object.clone().into());
        }
        let last = stage == Stage::ResponseComplete;
        let request = if last { state.request.take() } else { None };
        let response = if last { state.response.take() } else { None };
        for (name, value) in [
            ("responseStatus", state.status.clone()),
            ("requestObject", request),
            ("responseObject", response),
        ] {
            if let Some(mut value) = value {
                if self.verdict.omit_managed_fields {
                    without_managed_fields(&mut value);
                }
                event.insert(name.into(), value);
            }
        }
        event.insert("requestReceivedTimestamp".into(), self.received.clone().into());
        event.insert("stageTimestamp".into(), micros((self.clock)()).into());
        if !state.annotations.is_empty() {
            event.insert("annotations".into(), json!(state.annotations));
        }
        self.audit.tell(Value::Object(event).to_string());
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut state = std::mem::take(&mut *self.state());
        if !state.complete {
            self.tell(Stage::ResponseComplete, &mut state);
        }
    }
}

fn told(status: &Status) -> Value {
    let mut value = status.to_value();
    if let Some(fields) = value.as_object_mut() {
        fields.shift_remove("kind");
        fields.shift_remove("apiVersion");
    }
    value
}

fn user(user: &User) -> Value {
    let mut told = Map::new();
    told.insert("username".into(), user.name.as_str().into());
    if !user.uid.is_empty() {
        told.insert("uid".into(), user.uid.as_str().into());
    }
    if !user.groups.is_empty() {
        told.insert("groups".into(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        told.insert("extra".into(), json!(user.extra));
    }
    told.into()
}

/// Whom the request passed, the peer last.
fn sources(headers: &HeaderMap, peer: SocketAddr) -> Value {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let passed = header("x-forwarded-for").split(',').chain([header("x-real-ip")]);
    let mut found: Vec<String> = passed
        .filter_map(|text| text.trim().parse::<std::net::IpAddr>().ok())
        .map(|address| address.to_string())
        .collect();
    found.push(peer.ip().to_canonical().to_string());
    found.dedup();
    json!(found)
}

fn reference(info: &RequestInfo) -> Map<String, Value> {
    let mut reference = Map::new();
    if !info.is_resource_request {
        return reference;
    }
    for (name, text) in [
        ("resource", &info.resource),
        ("namespace", &info.namespace),
        ("name", &info.name),
        ("apiGroup", &info.group),
        ("apiVersion", &info.version),
        ("subresource", &info.subresource),
    ] {
        if !text.is_empty() {
            reference.insert(name.into(), text.as_str().into());
        }
    }
    reference
}

/// What was sent, as JSON; nothing where it is no object (which is then refused anyway).
fn decode(kind: &'static Kind, subresource: &str, content_type: &str, body: &[u8]) -> Option<Value> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Some(value);
    }
    let wanted = match kind.subresource(subresource) {
        Some(sub) if sub.schema != kind.schema => BodyOf::from(sub),
        _ => BodyOf::from(kind),
    };
    wire::decode_body(body, content_type, wanted, FieldValidation::Ignore).ok().map(|body| body.object)
}

fn without_managed_fields(object: &mut Value) {
    let strip = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.shift_remove("managedFields");
        }
    };
    strip(object);
    if let Some(items) = object.get_mut("items").and_then(Value::as_array_mut) {
        items.iter_mut().for_each(strip);
    }
}

fn micros(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

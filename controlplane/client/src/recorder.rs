//! Events: what a part did or could not do, told to users.
//!
//! Best effort: recording never blocks or fails its caller, a full queue drops, a lost event is lost. The same
//! event again is counted in the first one's object; one source may tell only so much about one object.
//!
//! Reference: client-go `tools/record`, its correlator and spam filter (25 at once, then one in five minutes).

mod correlator;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::meta::Meta;
use api::time::format_seconds;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::{Client, ClientError, Object, Patch, Resource};
use correlator::{Correlator, Verdict};

/// Events that wait to be written.
const QUEUE: usize = 1024;
/// Longest message, as upstream's validation has it.
const LONGEST_MESSAGE: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    Normal,
    Warning,
}

impl EventKind {
    fn as_str(self) -> &'static str {
        match self {
            EventKind::Normal => "Normal",
            EventKind::Warning => "Warning",
        }
    }
}

/// The object that an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reference {
    pub api_version: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    /// Part of the object: `spec.containers{web}`; else empty.
    pub field_path: String,
}

impl Reference {
    pub fn to(object: &Object) -> Reference {
        Reference {
            api_version: object.resource().api_version(),
            kind: object.resource().kind.to_string(),
            namespace: object.key.namespace.clone(),
            name: object.key.name.clone(),
            uid: object.uid.clone(),
            resource_version: object.resource_version.clone(),
            field_path: String::new(),
        }
    }

    pub fn of(resource: &Resource, value: &Value) -> Reference {
        let meta = Meta::of(value);
        Reference {
            api_version: resource.api_version(),
            kind: resource.kind.to_string(),
            namespace: meta.namespace().to_owned(),
            name: meta.name().to_owned(),
            uid: meta.uid().to_owned(),
            resource_version: meta.resource_version().to_owned(),
            field_path: String::new(),
        }
    }
}

/// One event as told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Told {
    about: Reference,
    kind: EventKind,
    reason: String,
    message: String,
}

/// Records events of one component; clones share the queue.
#[derive(Clone)]
pub struct EventRecorder {
    queue: mpsc::Sender<Told>,
    dropped: Arc<AtomicU64>,
    _writer: Arc<Writer>,
}

struct Writer(JoinHandle<()>);

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl EventRecorder {
    /// `component` is `source.component`; `host` may be empty.
    pub fn start(client: Client, component: &str, host: &str) -> EventRecorder {
        let (queue, told) = mpsc::channel(QUEUE);
        let source = Source { component: component.to_owned(), host: host.to_owned() };
        let writer = tokio::spawn(write_all(client, source, told));
        EventRecorder { queue, dropped: Arc::default(), _writer: Arc::new(Writer(writer)) }
    }

    pub fn record(&self, about: Reference, kind: EventKind, reason: &str, message: impl Into<String>) {
        let mut message: String = message.into();
        if message.len() > LONGEST_MESSAGE {
            let end = (0..=LONGEST_MESSAGE).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(end);
        }
        let told = Told { about, kind, reason: reason.to_owned(), message };
        if self.queue.try_send(told).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::warn!(dropped, "events come faster than they can be written");
        }
    }
}

struct Source {
    component: String,
    host: String,
}

async fn write_all(client: Client, source: Source, mut queue: mpsc::Receiver<Told>) {
    let mut correlator = Correlator::default();
    while let Some(told) = queue.recv().await {
        let now = (client.surroundings().now)();
        let verdict = correlator.judge(told.clone(), now);
        if let Err(error) = write(&client, &source, &mut correlator, told, verdict, now).await {
            // Where the namespace is going, nobody will miss it.
            if !error.namespace_is_terminating() {
                tracing::warn!(%error, "an event is lost");
            }
        }
    }
}

async fn write(
    client: &Client,
    source: &Source,
    correlator: &mut Correlator,
    told: Told,
    verdict: Verdict,
    now: jiff::Timestamp,
) -> Result<(), ClientError> {
    let namespace = namespace_of(&told.about).to_owned();
    match verdict {
        Verdict::Drop => return Ok(()),
        Verdict::Count { name, count } => {
            let patch =
                json!({"count": count, "lastTimestamp": format_seconds(now), "message": told.message});
            match client.patch(&Resource::EVENTS, &namespace, &name, Patch::Strategic, &patch).await {
                // Expired meanwhile: a new one.
                Err(error) if error.is_not_found() => {}
                answer => return answer.map(drop),
            }
        }
        Verdict::New => {}
    }
    let event = object(source, &told, now);
    let name = event["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    client.create(&Resource::EVENTS, &namespace, &event).await?;
    correlator.written(told, name);
    Ok(())
}

fn namespace_of(about: &Reference) -> &str {
    if about.namespace.is_empty() { "default" } else { &about.namespace }
}

fn object(source: &Source, told: &Told, now: jiff::Timestamp) -> Value {
    let about = &told.about;
    let mut involved = json!({
        "kind": about.kind, "namespace": about.namespace, "name": about.name, "uid": about.uid,
        "apiVersion": about.api_version, "resourceVersion": about.resource_version, "fieldPath": about.field_path,
    });
    let mut from = json!({"component": source.component, "host": source.host});
    for optional in [&mut involved, &mut from] {
        if let Value::Object(fields) = optional {
            fields.retain(|_, value| value != "");
        }
    }
    let at = format_seconds(now);
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": format!("{}.{:x}", about.name, now.as_nanosecond()), "namespace": namespace_of(about)},
        "involvedObject": involved, "reason": told.reason, "message": told.message, "source": from,
        "firstTimestamp": at, "lastTimestamp": at, "count": 1, "type": told.kind.as_str(),
        "reportingComponent": source.component, "reportingInstance": source.host, "eventTime": null,
    })
}

//! What the cluster hears of this machine: its Node object, kept true.
//!
//! ```text
//! register: create, or take over and correct labels -> every few seconds: observe -> status -> patch what differs,
//!           and the heartbeat at least every five minutes
//! ```
//!
//! Reference: KEP-589 for heartbeats; upstream's `nodestatus` for reasons and messages.

pub mod machine;
mod register;
mod status;

use std::sync::Arc;
use std::time::Duration;

use client::{Backoff, Client, ClientError, EventKind, EventRecorder, Patch, Reference, Resource};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::facts::NodeFacts;
use crate::resources::Amounts;
use crate::runtime::Runtime;
use machine::{Machine, Thresholds};

pub use register::{labels, taint};

/// What the Node object is made of; fixed while the kubelet runs.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    pub facts: NodeFacts,
    pub machine: Machine,
    pub labels: Vec<(String, String)>,
    /// `key=value:effect`
    pub taints: Vec<Value>,
    pub port: u16,
    pub capacity: Amounts,
    pub thresholds: Thresholds,
    pub status_every: Duration,
    pub root: std::path::PathBuf,
    /// `keelson://0.1.0`
    pub runtime_version: String,
}

/// Between two looks at a runtime whose network is not up yet.
const UNREADY_LOOK: Duration = Duration::from_millis(200);
/// Written at least so often, changed or not.
const HEARTBEAT: Duration = Duration::from_secs(300);
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(7);

/// Keeps one Node true.
pub struct NodeKeeper {
    client: Client,
    runtime: Runtime,
    events: EventRecorder,
    options: Arc<NodeOptions>,
    /// The object as last written or read.
    known: Value,
    written: Option<Instant>,
    /// Whether the last status was ready, and what pressure it told.
    told: Vec<(String, bool)>,
}

impl NodeKeeper {
    pub fn new(
        client: Client,
        runtime: Runtime,
        events: EventRecorder,
        options: Arc<NodeOptions>,
    ) -> NodeKeeper {
        NodeKeeper { client, runtime, events, options, known: Value::Null, written: None, told: Vec::new() }
    }

    /// Registers, then keeps the status until `stopping`.
    pub async fn run(mut self, stopping: CancellationToken) {
        let random = self.client.surroundings().random;
        let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
        loop {
            let done = match self.known.is_null() {
                true => self.register().await,
                false => self.keep().await,
            };
            let wait = match done {
                Ok(()) => {
                    backoff.reset();
                    self.next_look()
                }
                Err(error) => {
                    if error.is_not_found() {
                        // Somebody deleted the node: it registers again.
                        (self.known, self.written) = (Value::Null, None);
                    }
                    tracing::warn!(node = %self.options.facts.name, %error, "the node is not kept up to date");
                    backoff.next(random)
                }
            };
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// A runtime does not tell when its network comes up; a node that is not ready looks soon.
    fn next_look(&self) -> Duration {
        let ready = self.told.iter().any(|(kind, holds)| kind == "Ready" && *holds);
        match (self.written, ready) {
            (None, _) => Duration::ZERO,
            (Some(_), true) => self.options.status_every,
            (Some(_), false) => self.options.status_every.min(UNREADY_LOOK),
        }
    }

    async fn register(&mut self) -> Result<(), ClientError> {
        let name = &self.options.facts.name;
        let wanted = register::object(&self.options);
        self.known = match self.client.create(&Resource::NODES, "", &wanted).await {
            Ok(node) => node,
            Err(error) if error.already_exists() => {
                let node = self.client.get(&Resource::NODES, "", name).await?;
                match register::correction(&node, &wanted) {
                    Some(patch) => {
                        self.client.patch(&Resource::NODES, "", name, Patch::Strategic, &patch).await?
                    }
                    None => node,
                }
            }
            Err(error) => return Err(error),
        };
        self.tell(EventKind::Normal, "Starting", "Starting kubelet.");
        let boot = &self.options.machine.boot_id;
        let before = self.known["status"]["nodeInfo"]["bootID"].as_str().unwrap_or_default();
        if !before.is_empty() && before != boot {
            let message = format!("Node {name} has been rebooted, boot id: {boot}");
            self.tell(EventKind::Warning, "Rebooted", &message);
        }
        Ok(())
    }

    async fn keep(&mut self) -> Result<(), ClientError> {
        let options = self.options.clone();
        let observed = status::observe(&self.runtime, &options).await;
        let now = (self.client.surroundings().now)();
        let status = status::of(&options, &observed, &self.known["status"], now);
        let is_due = self.written.is_none_or(|written| written.elapsed() >= HEARTBEAT);
        let Some(patch) = status::difference(&self.known["status"], &status, is_due) else { return Ok(()) };
        let patch = json!({"status": patch});
        let name = &options.facts.name;
        let kind = Patch::Strategic;
        self.known =
            self.client.patch_subresource(&Resource::NODES, "", name, "status", kind, &patch).await?;
        self.written = Some(Instant::now());
        self.tell_changes(&status);
        Ok(())
    }

    /// Events for conditions that changed.
    fn tell_changes(&mut self, status: &Value) {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        for condition in conditions {
            let kind = condition["type"].as_str().unwrap_or_default().to_owned();
            let holds = condition["status"] == "True";
            let Some(reason) = status::event(&kind, holds) else { continue };
            let known = self.told.iter().position(|(told, _)| *told == kind);
            if known.is_some_and(|at| self.told[at].1 == holds) {
                continue;
            }
            match known {
                Some(at) => self.told[at].1 = holds,
                None => self.told.push((kind, holds)),
            }
            let message = format!("Node {} status is now: {reason}", self.options.facts.name);
            self.tell(EventKind::Normal, reason, &message);
        }
    }

    /// About the node, by its name: upstream's events carry that as UID, too.
    fn tell(&self, kind: EventKind, reason: &str, message: &str) {
        let name = self.options.facts.name.clone();
        let reference = Reference {
            api_version: String::new(),
            kind: "Node".to_owned(),
            uid: name.clone(),
            name,
            ..Reference::default()
        };
        self.events.record(reference, kind, reason, message);
    }
}

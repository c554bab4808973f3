//! Telling the API: a patch of what differs, one at a time, again until it is taken.

use std::sync::Arc;
use std::time::Duration;

use client::{Backoff, Patch, Resource};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Stage, Worker};
use crate::pod::Pod;
use crate::status::{self, Inputs};

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// What the API knows, as far as we know.
pub(super) struct Reporter {
    /// `status`, the newest that was seen or written.
    known: Arc<Value>,
    version: u64,
    pub writing: Option<BoxFuture<'static, Written>>,
    /// The last status computed is what the API has.
    is_current: bool,
    retry: Backoff,
    retry_at: Option<Instant>,
}

/// How a write ended.
pub(super) enum Written {
    /// The object after it.
    Taken(Box<Value>),
    /// There is no such pod any more.
    Gone,
    Failed,
}

impl Reporter {
    pub fn new(pod: &Pod) -> Reporter {
        Reporter {
            known: Arc::new(pod.status().clone()),
            version: version(pod.value()),
            writing: None,
            is_current: false,
            retry: Backoff::new(FIRST_RETRY, LONGEST_RETRY),
            retry_at: None,
        }
    }

    /// A version that the watch told; an older one than ours is no news.
    pub fn learn(&mut self, pod: &Pod) {
        self.learn_value(pod.value());
    }

    fn learn_value(&mut self, object: &Value) {
        let version = version(object);
        if version >= self.version {
            self.version = version;
            self.known = Arc::new(object["status"].clone());
        }
    }

    pub fn is_current(&self) -> bool {
        self.is_current && self.writing.is_none()
    }

    pub fn start_time(&self) -> Option<Timestamp> {
        self.known["startTime"].as_str()?.parse().ok()
    }
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Worker {
    /// Computes the status and starts to write it where it differs.
    pub(super) fn report(&mut self) {
        let known = self.report.known.clone();
        let status = status::of(&Inputs {
            pod: &self.pod,
            before: &known,
            observed: &self.observed,
            verdicts: &self.verdicts,
            waiting: &self.waiting,
            failed: self.failed.as_ref(),
            resize: &self.resize,
            is_rejected: self.is_rejected,
            is_over: self.stage != Stage::Running,
            is_ended: matches!(self.stage, Stage::Ended | Stage::Removed),
            node_addresses: &self.context.facts.addresses,
            runtime: &self.context.runtime_name,
            now: (self.context.client.surroundings().now)(),
        });
        let changed = status::difference(&known, &status);
        self.report.is_current = changed.is_none();
        self.publish_view(Arc::new(status));
        if self.gone || self.stage == Stage::Removed || self.report.writing.is_some() {
            return;
        }
        let Some(changed) = changed else { return };
        if let Some(at) = self.report.retry_at.filter(|at| *at > Instant::now()) {
            self.wake_in(at.duration_since(Instant::now()));
            return;
        }
        let (client, pod) = (self.context.client.clone(), self.pod.clone());
        let patch = json!({"metadata": {"uid": pod.uid.as_str()}, "status": changed});
        let writing = async move {
            let (namespace, name) = (&pod.key.namespace, &pod.key.name);
            let kind = Patch::Strategic;
            match client.patch_subresource(&Resource::PODS, namespace, name, "status", kind, &patch).await {
                Ok(object) => Written::Taken(Box::new(object)),
                Err(error) if error.is_not_found() || error.is_conflict() => Written::Gone,
                Err(error) => {
                    tracing::warn!(pod = %name, ns = %namespace, %error, "a pod's status is not written yet");
                    Written::Failed
                }
            }
        };
        self.report.writing = Some(writing.boxed());
    }

    pub(super) fn take_written(&mut self, written: Written) {
        self.report.writing = None;
        match written {
            Written::Taken(object) => {
                self.report.retry.reset();
                self.report.retry_at = None;
                self.report.learn_value(&object);
            }
            // The watch tells what became of it.
            Written::Gone | Written::Failed => {
                let wait = self.report.retry.next(self.context.client.surroundings().random);
                self.report.retry_at = Some(Instant::now() + wait);
                self.wake_in(wait);
            }
        }
    }
}

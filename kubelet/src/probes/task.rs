//! The task of one pod's probes: one timer, the attempts that are under way, and what they lead to.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use client::{EventKind, EventRecorder};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::attempt;
use super::spec::Spec;
use super::track::{Known, Outcome, Phase, Track};
use super::{ProbeKind, ProbeReport, Running, View};
use crate::pod::Pod;
use crate::runtime::Runtime;

/// Outcome of a probe's attempt: which probe, of which container, when it began.
type Ended = (usize, String, Instant, Outcome);

pub(super) struct Task {
    pod: Arc<Pod>,
    specs: Vec<Spec>,
    runtime: Runtime,
    events: EventRecorder,
    reports: mpsc::Sender<ProbeReport>,
    /// By the probe's place in `specs`.
    tracks: HashMap<usize, Track>,
    view: View,
    attempts: FuturesUnordered<BoxFuture<'static, Ended>>,
}

impl Task {
    pub(super) fn new(
        pod: Arc<Pod>,
        specs: Vec<Spec>,
        runtime: Runtime,
        events: EventRecorder,
        reports: mpsc::Sender<ProbeReport>,
    ) -> Task {
        let (tracks, view, attempts) = Default::default();
        Task { pod, specs, runtime, events, reports, tracks, view, attempts }
    }

    /// Until nobody shows it anything any more; dropping it ends the attempts.
    pub(super) async fn run(mut self, mut shown: watch::Receiver<View>) {
        loop {
            let due = self.tracks.values().filter(|track| self.may_ask(track)).filter_map(Track::due).min();
            let timer = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = shown.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let view = shown.borrow_and_update().clone();
                    self.look(view).await;
                }
                () = timer => self.ask(),
                Some(ended) = self.attempts.next() => self.take(ended).await,
            }
        }
    }

    /// Begins and ends probes with their containers.
    async fn look(&mut self, view: View) {
        self.view = view;
        let id_of = |name: &str| self.view.running.iter().find(|running| running.name == name);
        let (specs, terminating) = (&self.specs, self.view.terminating);
        self.tracks.retain(|index, track| {
            let spec = &specs[*index];
            let ends = terminating && spec.kind != ProbeKind::Readiness;
            !ends && id_of(&spec.container).is_some_and(|running| running.id == track.id)
        });
        let now = (Instant::now(), nanoseconds());
        let mut known_before = Vec::new();
        for (index, spec) in self.specs.iter().enumerate() {
            let ends = terminating && spec.kind != ProbeKind::Readiness;
            let Some(running) = id_of(&spec.container).filter(|_| !ends) else { continue };
            if self.tracks.contains_key(&index) {
                continue;
            }
            let known = known(&self.pod, running);
            let track = Track::begin(index, spec, running, known, now, share(&running.id, spec.kind));
            if track.verdict == Some(true) {
                known_before.push((index, running.id.clone()));
            }
            self.tracks.insert(index, track);
        }
        for (index, id) in known_before {
            self.report(index, id, true).await;
        }
    }

    /// Whether a probe has its turn: liveness and readiness wait for the startup probe.
    fn may_ask(&self, track: &Track) -> bool {
        let spec = &self.specs[track.spec];
        spec.kind == ProbeKind::Startup
            || self.tracks.values().all(|other| {
                let startup = &self.specs[other.spec];
                startup.kind != ProbeKind::Startup
                    || startup.container != spec.container
                    || other.verdict == Some(true)
            })
    }

    /// Begins every attempt that is due.
    fn ask(&mut self) {
        let now = Instant::now();
        let due: Vec<usize> = self
            .tracks
            .values()
            .filter(|track| self.may_ask(track) && track.due().is_some_and(|due| due <= now))
            .map(|track| track.spec)
            .collect();
        for index in due {
            let spec = &self.specs[index];
            let Some(track) = self.tracks.get_mut(&index) else { continue };
            track.phase = Phase::Asking;
            let id = track.id.clone();
            let attempt =
                attempt::run(spec.clone(), id.clone(), self.view.addresses.clone(), self.runtime.clone());
            self.attempts.push(Box::pin(async move { (index, id, now, attempt.await) }));
        }
    }

    /// Counts an outcome, tells of it and reports a new verdict.
    async fn take(&mut self, (index, id, asked, outcome): Ended) {
        let spec = &self.specs[index];
        // The container may be gone, or the pod's end may have ended the probe.
        let Some(track) = self.tracks.get_mut(&index).filter(|track| track.id == id) else { return };
        let verdict = track.take(spec, &outcome, asked, Instant::now());
        self.tell(index, &outcome);
        let Some(success) = verdict else { return };
        self.report(index, id, success).await;
    }

    async fn report(&mut self, index: usize, container_id: String, success: bool) {
        let spec = &self.specs[index];
        let grace_seconds = if success { None } else { spec.grace_seconds };
        let report = ProbeReport {
            container: spec.container.clone(),
            container_id,
            kind: spec.kind,
            success,
            grace_seconds,
        };
        // Nobody listens where the worker has ended.
        let _ = self.reports.send(report).await;
    }

    fn tell(&self, index: usize, outcome: &Outcome) {
        let spec = &self.specs[index];
        let title = spec.kind.title();
        let (reason, message) = match outcome {
            Outcome::Success => return,
            Outcome::Warning(why) => ("ProbeWarning", format!("{title} probe warning: {why}")),
            Outcome::Failure(why) => ("Unhealthy", format!("{title} probe failed: {why}")),
            Outcome::Error(why) => ("Unhealthy", format!("{title} probe errored: {why}")),
        };
        let (pod, ns, container) = (&self.pod.key.name, &self.pod.key.namespace, &spec.container);
        tracing::debug!(pod, ns, container, message, "a probe did not succeed");
        if let Some(container) = self.pod.container(container) {
            self.events.record(self.pod.container_reference(container), EventKind::Warning, reason, message);
        }
    }
}

/// What the API says of the container that runs, if it speaks of the same one.
pub(super) fn known(pod: &Pod, running: &Running) -> Known {
    let lists = ["containerStatuses", "initContainerStatuses"];
    let statuses = lists.iter().flat_map(|list| pod.status()[*list].as_array().into_iter().flatten());
    let of_same = |status: &&serde_json::Value| {
        let id = status["containerID"].as_str().unwrap_or_default();
        status["name"] == running.name.as_str()
            && id.split_once("://").is_some_and(|(_, id)| id == running.id)
    };
    match statuses.into_iter().find(of_same) {
        Some(status) => Known { ready: status["ready"] == true, started: status["started"] == true },
        None => Known::default(),
    }
}

/// A part of a period that is the same for one probe of one container, and differs between them.
fn share(id: &str, kind: ProbeKind) -> f64 {
    let mut hasher = DefaultHasher::new();
    (id, kind).hash(&mut hasher);
    (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64
}

fn nanoseconds() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

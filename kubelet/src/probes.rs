//! Probes: whether a pod's containers live, have started, and may be sent requests.
//!
//! ```text
//! observe ──▶ task of the pod: which container runs ──▶ due? ──▶ attempt (http, tcp, exec, grpc) ──▶ threshold
//!                 ▲                                                                                    │
//!                 └───────────────────── next one after the period ◀──────────────────────────────────┴──▶ report
//! ```
//!
//! The worker keeps one [`Prober`] per pod, shows it what the runtime says, and hears of verdicts over a channel.
//! A prober is one task with one timer, whatever the number of its probes; attempts that are under way are futures
//! in it. What a verdict leads to is not decided here.
//!
//! **Invariants.** A report is about one container in the runtime, told by its id, and only after the threshold;
//! a failed liveness or startup probe rests until that container is gone. Until the startup probe has succeeded,
//! the others do not run.
//!
//! Reference: Kubernetes "Liveness, Readiness, and Startup Probes"; KEP-950 (startup), KEP-2238 (grace), KEP-2727 (gRPC).

mod address;
mod attempt;
mod exec;
mod grpc;
mod http;
mod spec;
mod task;
mod tcp;
#[cfg(test)]
mod tests;
mod track;

use std::sync::Arc;

use client::EventRecorder;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::observed::{Observed, State};
use crate::pod::{Addresses, Pod};
use crate::runtime::Runtime;

pub use attempt::ask;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeKind {
    Liveness,
    Readiness,
    Startup,
}

/// A verdict after its threshold; sent once per change and container id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    pub container: String,
    /// The container in the runtime that was probed: a report about a former one is void.
    pub container_id: String,
    pub kind: ProbeKind,
    pub success: bool,
    /// `terminationGracePeriodSeconds` of the probe that failed.
    pub grace_seconds: Option<i64>,
}

/// The probes of one pod. Dropping it ends them.
pub struct Prober {
    view: watch::Sender<View>,
    stopping: CancellationToken,
    /// None where the pod has no probes.
    task: Option<JoinHandle<()>>,
}

/// What the task has to know of the world.
#[derive(Clone, Debug, Default, PartialEq)]
struct View {
    running: Vec<Running>,
    addresses: Addresses,
    terminating: bool,
}

/// A container that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Running {
    name: String,
    id: String,
    /// Nanoseconds since 1970.
    started_at: i64,
}

impl ProbeKind {
    /// As events begin.
    fn title(self) -> &'static str {
        match self {
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
            ProbeKind::Startup => "Startup",
        }
    }

    /// The field of a container.
    fn field(self) -> &'static str {
        match self {
            ProbeKind::Liveness => "livenessProbe",
            ProbeKind::Readiness => "readinessProbe",
            ProbeKind::Startup => "startupProbe",
        }
    }
}

/// What the API says of containers that still run, as the verdicts of a kubelet before this one: a pod that was
/// ready stays so until its probe says otherwise.
pub fn remembered(pod: &Pod, observed: &Observed) -> Vec<ProbeReport> {
    let running = running(observed);
    let of = |spec: &spec::Spec| {
        let running = running.iter().find(|running| running.name == spec.container)?;
        let known = task::known(pod, running);
        let success = match spec.kind {
            ProbeKind::Readiness => known.ready,
            ProbeKind::Startup => known.started,
            ProbeKind::Liveness => false,
        };
        success.then(|| ProbeReport {
            container: spec.container.clone(),
            container_id: running.id.clone(),
            kind: spec.kind,
            success,
            grace_seconds: None,
        })
    };
    spec::of_pod(pod).iter().filter_map(of).collect()
}

/// The running containers, the newest of each name: an older one is on its way out.
fn running(observed: &Observed) -> Vec<Running> {
    let mut running: Vec<Running> = Vec::new();
    for container in observed.containers.iter().filter(|container| container.state == State::Running) {
        if !running.iter().any(|known| known.name == container.name) {
            running.push(Running {
                name: container.name.clone(),
                id: container.id.clone(),
                started_at: container.status.started_at,
            });
        }
    }
    running
}

// === impl Prober ===

impl Prober {
    /// Records `Unhealthy` events itself.
    pub fn start(
        pod: Arc<Pod>,
        runtime: Runtime,
        events: EventRecorder,
        reports: mpsc::Sender<ProbeReport>,
    ) -> Prober {
        let stopping = CancellationToken::new();
        let (view, shown) = watch::channel(View::default());
        let specs = spec::of_pod(&pod);
        let task = (!specs.is_empty()).then(|| {
            let task = task::Task::new(pod, specs, runtime, events, reports);
            let stopping = stopping.clone();
            tokio::spawn(async move {
                tokio::select! { () = task.run(shown) => {}, () = stopping.cancelled() => {} }
            })
        });
        Prober { view, stopping, task }
    }

    /// What the runtime says now: probes of containers that run begin, those of others end.
    pub fn observe(&self, observed: &Observed, addresses: &Addresses) {
        let running = running(observed);
        self.view.send_if_modified(|view| {
            let changed = view.running != running || view.addresses != *addresses;
            (view.running, view.addresses) = (running, addresses.clone());
            changed
        });
    }

    /// The pod is being deleted: readiness goes on, liveness and startup end.
    pub fn pod_terminates(&self) {
        self.view.send_if_modified(|view| !std::mem::replace(&mut view.terminating, true));
    }

    /// Ends all probes and waits for them.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        if let Some(task) = self.task.take() {
            // It ends by itself at the token; how does not matter any more.
            let _ = task.await;
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

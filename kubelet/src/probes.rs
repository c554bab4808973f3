//! Probes: whether a pod's containers live, have started, and may be sent requests.
//!
//! The worker keeps one [`Prober`] per pod, shows it what the runtime says, and hears of verdicts over a channel.

use std::sync::Arc;

use client::EventRecorder;
use tokio::sync::mpsc;

use crate::observed::Observed;
use crate::pod::{Addresses, Pod};
use crate::runtime::Runtime;

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
pub struct Prober {}

impl Prober {
    /// Records `Unhealthy` events itself.
    pub fn start(
        _pod: Arc<Pod>,
        _runtime: Runtime,
        _events: EventRecorder,
        _reports: mpsc::Sender<ProbeReport>,
    ) -> Prober {
        Prober {}
    }

    /// What the runtime says now: probes of containers that run begin, those of others end. `started` tells
    /// whether the container's startup probe has succeeded, as far as it was reported.
    pub fn observe(&self, _observed: &Observed, _addresses: &Addresses) {}

    /// The pod is being deleted: readiness goes on, liveness and startup end.
    pub fn pod_terminates(&self) {}

    /// Ends all probes and waits for them.
    pub async fn stop(self) {}
}

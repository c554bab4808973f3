//! New pods that wait for their policies.

use std::collections::BTreeMap;
use std::time::Duration;

use cni_api::CniError;
use cni_api::agent::Endpoint;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Less than the plugin's patience: it hears why.
const PATIENCE: Duration = Duration::from_secs(8);

/// A pod that is PENDING.
#[derive(Debug)]
struct WaitingPod {
    endpoint: Endpoint,
    /// None: nobody asks; the pod was found by the agent's start.
    answer: Option<oneshot::Sender<Result<(), CniError>>>,
    until: Instant,
}

/// By link.
#[derive(Debug, Default)]
pub struct Waiting {
    pods: BTreeMap<String, WaitingPod>,
}

// === impl Waiting ===

impl Waiting {
    /// A second call for the same pod takes the place of the first.
    pub fn add(&mut self, endpoint: Endpoint, answer: Option<oneshot::Sender<Result<(), CniError>>>) {
        let until = Instant::now() + PATIENCE;
        self.pods.insert(endpoint.link.clone(), WaitingPod { endpoint, answer, until });
    }

    pub fn has(&self, link: &str) -> bool {
        self.pods.contains_key(link)
    }

    pub fn links(&self) -> Vec<String> {
        self.pods.keys().cloned().collect()
    }

    /// The pod need not wait any more. Whether somebody had asked.
    pub fn answer(&mut self, link: &str, answer: Result<(), CniError>) -> Option<(Endpoint, bool)> {
        let pod = self.pods.remove(link)?;
        let asked = pod.answer.is_some();
        if let Some(sender) = pod.answer {
            // A plugin that has given up finds the pod READY, or gone, when it asks again.
            let _ = sender.send(answer);
        }
        Some((pod.endpoint, asked))
    }

    pub fn next(&self) -> Option<Instant> {
        self.pods.values().map(|pod| pod.until).min()
    }

    /// Those that have waited too long.
    pub fn overdue(&self) -> Vec<String> {
        let now = Instant::now();
        self.pods.iter().filter(|(_, pod)| pod.until <= now).map(|(link, _)| link.clone()).collect()
    }
}

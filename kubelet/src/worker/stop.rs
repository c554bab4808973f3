//! Ending one container: preStop, the stop signal, and SIGKILL after the grace.
//!
//! Reference: upstream's `killContainer`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::EventKind;
use cri_api::v1;
use tokio::time::Instant;

use super::{Context, Worker};
use crate::hooks::{self, Hook};
use crate::images::words;
use crate::pod::{Addresses, Pod};

/// Even after a hook that took all the grace a program gets this long to hear of its end.
const LEAST_GRACE_SECONDS: i64 = 2;

/// What is known of ends under way.
#[derive(Clone)]
pub(super) struct Killing {
    pre_stopped: Arc<Mutex<HashSet<String>>>,
    addresses: Addresses,
}

impl Worker {
    pub(super) fn killing(&self) -> Killing {
        Killing { pre_stopped: self.pre_stopped.clone(), addresses: self.addresses() }
    }
}

impl Killing {
    /// True the first time.
    fn begins(&self, id: &str) -> bool {
        self.pre_stopped.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned())
    }
}

/// Ends a container. True once it has; false where the runtime did not do it.
pub(super) async fn kill(
    context: &Context,
    pod: &Pod,
    killing: &Killing,
    name: &str,
    id: &str,
    message: &str,
    grace_seconds: i64,
) -> bool {
    let reference =
        pod.container(name).map_or_else(|| pod.reference(), |known| pod.container_reference(known));
    let is_first = killing.begins(id);
    if is_first {
        let message =
            if message.is_empty() { format!("Stopping container {name}") } else { message.to_owned() };
        context.events.record(reference.clone(), EventKind::Normal, "Killing", message);
    }
    let begun = Instant::now();
    let container = pod.container(name);
    if let Some((container, handler)) =
        container.and_then(|known| Some((known, hooks::of(known, Hook::PreStop)?)))
        && is_first
        && grace_seconds > 0
    {
        let limit = Duration::from_secs(grace_seconds.unsigned_abs());
        let ran = hooks::run(handler, container, id, &killing.addresses, &context.runtime, limit);
        match tokio::time::timeout(limit, ran).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                tracing::info!(container = id, %why, "a preStop hook failed");
                context.events.record(
                    reference.clone(),
                    EventKind::Warning,
                    "FailedPreStopHook",
                    "PreStopHook failed",
                );
            }
            Err(_) => tracing::info!(container = id, "a preStop hook took all the grace"),
        }
    }
    let used = i64::try_from(begun.elapsed().as_secs()).unwrap_or(i64::MAX);
    let left = grace_seconds.saturating_sub(used).max(LEAST_GRACE_SECONDS);
    let request = v1::StopContainerRequest { container_id: id.to_owned(), timeout: left };
    match context.runtime.service().stop_container(request).await {
        Ok(_) => true,
        Err(status) => {
            let message =
                format!("error killing pod: failed to \"KillContainer\" for {name:?}: {}", words(&status));
            context.events.record(pod.reference(), EventKind::Warning, "FailedKillPod", message);
            false
        }
    }
}

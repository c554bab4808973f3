//! The end of a pod: containers, network, volumes; then what the runtime and the API still have of it.
//!
//! ```text
//! end:    main containers together, sidecars from the last to the first -> sandboxes stopped -> volumes gone
//! remove: containers, sandboxes, logs, folders -> the object in the API, by its UID
//! ```

use std::sync::Arc;

use client::{ClientError, EventKind, Resource};
use cri_api::v1;
use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use serde_json::json;
use tokio::time::Instant;

use super::operate::remove_garbage;
use super::stop::{Killing, kill};
use super::{Context, Outcome, Worker};
use crate::garbage::Garbage;
use crate::images::words;
use crate::observed::{self, Observed, ObservedContainer, State};
use crate::pod::{Pod, Role};

/// One pod's end.
struct Ending {
    context: Arc<Context>,
    pod: Arc<Pod>,
    killing: Killing,
    grace_seconds: i64,
}

impl Worker {
    /// The grace of what is to end now: what deletion asks, else the pod's own; at least a second.
    pub(super) fn grace_seconds(&self) -> i64 {
        let asked = self.pod.deletion.as_ref().map(|deletion| deletion.grace_seconds);
        asked.unwrap_or(self.pod.grace_seconds).max(1)
    }

    /// Ends everything that runs.
    pub(super) fn end(&mut self) -> BoxFuture<'static, Outcome> {
        self.ending_grace = self.grace_seconds();
        self.waiting.clear();
        let ending = Ending {
            context: self.context.clone(),
            pod: self.pod.clone(),
            killing: self.killing(),
            grace_seconds: self.ending_grace,
        };
        async move {
            match ending.end().await {
                Ok(()) => Outcome::Ended,
                Err(why) => {
                    tracing::warn!(pod = %ending.pod.key.name, ns = %ending.pod.key.namespace, %why, "a pod does not end yet");
                    Outcome::Failed
                }
            }
        }
        .boxed()
    }

    /// Takes away what is left of a pod that nobody asks for any more.
    pub(super) fn remove(&self) -> BoxFuture<'static, Outcome> {
        let (context, pod, gone) = (self.context.clone(), self.pod.clone(), self.gone);
        async move {
            let removed = match remove(&context, &pod).await {
                Ok(()) if gone => Ok(()),
                Ok(()) => delete(&context, &pod).await.map_err(|error| error.to_string()),
                Err(why) => Err(why),
            };
            match removed {
                Ok(()) => Outcome::Removed,
                Err(why) => {
                    tracing::warn!(pod = %pod.key.name, ns = %pod.key.namespace, %why, "a pod is not removed yet");
                    Outcome::Failed
                }
            }
        }
        .boxed()
    }
}

impl Ending {
    async fn end(&self) -> Result<(), String> {
        let read = |status: tonic::Status| words(&status);
        let observed = observed::read(&self.context.runtime, &self.pod.uid).await.map_err(read)?;
        self.kill_all(&observed).await?;
        for sandbox in &observed.sandboxes {
            let request = v1::StopPodSandboxRequest { pod_sandbox_id: sandbox.id.clone() };
            if let Err(status) = self.context.runtime.service().stop_pod_sandbox(request).await {
                let message = format!("error killing pod: failed to \"KillPodSandbox\": {}", words(&status));
                self.context.events.record(
                    self.pod.reference(),
                    EventKind::Warning,
                    "FailedKillPod",
                    message,
                );
                return Err(words(&status));
            }
        }
        // Something may have started while this began.
        let after = observed::read(&self.context.runtime, &self.pod.uid).await.map_err(read)?;
        if let Some(alive) = after.running().next() {
            return Err(format!("container {} still runs", alive.id));
        }
        self.context.volumes.teardown(&self.pod.uid).await.map_err(|error| error.to_string())?;
        self.context.admission.forget(&self.pod.uid);
        self.context.cgroups.balance(self.context.admission.burstable_millis());
        Ok(())
    }

    async fn kill_all(&self, observed: &Observed) -> Result<(), String> {
        let begun = Instant::now();
        let is_alive =
            |container: &&ObservedContainer| matches!(container.state, State::Running | State::Unknown);
        let is_sidecar =
            |name: &str| self.pod.container(name).is_some_and(|container| container.role == Role::Sidecar);
        let alive: Vec<&ObservedContainer> = observed.containers.iter().filter(is_alive).collect();
        let (sidecars, others): (Vec<_>, Vec<_>) =
            alive.into_iter().partition(|container| is_sidecar(&container.name));
        let killed =
            join_all(others.into_iter().map(|container| self.kill(container, self.grace_seconds))).await;
        if !killed.into_iter().all(|killed| killed) {
            return Err("a container could not be stopped".to_owned());
        }
        for sidecar in self.pod.init.iter().rev() {
            let Some(container) = sidecars.iter().find(|container| container.name == sidecar.name) else {
                continue;
            };
            let used = i64::try_from(begun.elapsed().as_secs()).unwrap_or(i64::MAX);
            if !self.kill(container, self.grace_seconds.saturating_sub(used)).await {
                return Err(format!("sidecar {} could not be stopped", container.name));
            }
        }
        Ok(())
    }

    async fn kill(&self, container: &ObservedContainer, grace_seconds: i64) -> bool {
        kill(&self.context, &self.pod, &self.killing, &container.name, &container.id, "", grace_seconds).await
    }
}

/// Containers, sandboxes, folders.
async fn remove(context: &Context, pod: &Pod) -> Result<(), String> {
    let observed = observed::read(&context.runtime, &pod.uid).await.map_err(|status| words(&status))?;
    let garbage = Garbage {
        containers: observed.containers.iter().map(|container| container.id.clone()).collect(),
        sandboxes: observed.sandboxes.iter().map(|sandbox| sandbox.id.clone()).collect(),
    };
    remove_garbage(context, &observed, garbage).await.map_err(|status| words(&status))?;
    for folder in [context.paths.log_directory(pod), context.paths.pod(&pod.uid)] {
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("removing {}: {error}", folder.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The last word to the API: this very pod is gone.
async fn delete(context: &Context, pod: &Pod) -> Result<(), ClientError> {
    let options = json!({
        "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
        "preconditions": {"uid": pod.uid.as_str()},
    });
    let (namespace, name) = (&pod.key.namespace, &pod.key.name);
    match context.client.delete_with(&Resource::PODS, namespace, name, &options).await {
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        answer => answer.map(drop),
    }
}

//! Operations of a pod that runs: volumes, steps of a plan, and what is collected.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::EventKind;
use cri_api::v1;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use super::resize::Resized;
use super::stop::{Killing, kill};
use super::{Context, Outcome, Progress, Worker};
use crate::allocation::Allocation;
use crate::container_config::ImageFacts;
use crate::garbage::{self, Garbage};
use crate::images::{ImageWaiting, words};
use crate::observed::{self, Observed};
use crate::plan::Step;
use crate::pod::Pod;
use crate::sandbox_config;
use crate::volumes::PodVolumes;
use crate::{qos, sandbox_config::SandboxConfigError};

/// Everything that the steps of one plan need.
pub(super) struct Operation {
    pub context: Arc<Context>,
    pub pod: Arc<Pod>,
    /// The one that the pod has.
    pub allocation: Allocation,
    pub observed: Arc<Observed>,
    pub volumes: Arc<PodVolumes>,
    pub progress: mpsc::Sender<Progress>,
    pub killing: Killing,
    /// What became of the images that are volumes: each is pulled once for the containers that these steps start.
    pub image_volumes: tokio::sync::Mutex<BTreeMap<String, Result<ImageFacts, ImageWaiting>>>,
}

impl Worker {
    pub(super) fn prepare(&self) -> BoxFuture<'static, Outcome> {
        let (context, pod) = (self.context.clone(), self.pod.clone());
        async move {
            match context.volumes.prepare(&pod).await {
                Ok(volumes) => Outcome::Prepared(volumes),
                Err(error) => {
                    context.events.record(
                        pod.reference(),
                        EventKind::Warning,
                        "FailedMount",
                        error.to_string(),
                    );
                    Outcome::Failed
                }
            }
        }
        .boxed()
    }

    pub(super) fn execute(&self, steps: Vec<Step>) -> BoxFuture<'static, Outcome> {
        let operation = Operation {
            context: self.context.clone(),
            pod: self.pod.clone(),
            allocation: self.allocation.clone(),
            observed: self.observed.clone(),
            volumes: self.volumes.clone().unwrap_or_default(),
            progress: self.progress.0.clone(),
            killing: self.killing(),
            image_volumes: tokio::sync::Mutex::default(),
        };
        async move { operation.execute(steps).await }.boxed()
    }

    /// Removes what nobody needs any more; none where there is nothing.
    pub(super) fn collect(&self) -> Option<BoxFuture<'static, Outcome>> {
        let garbage = garbage::of(&self.observed);
        if garbage == Garbage::default() {
            return None;
        }
        let (context, observed) = (self.context.clone(), self.observed.clone());
        let operation = async move {
            match remove_garbage(&context, &observed, garbage).await {
                Ok(()) => Outcome::Executed { held: Vec::new(), resized: None },
                Err(error) => {
                    tracing::warn!(%error, "old containers are not removed");
                    Outcome::Failed
                }
            }
        };
        Some(operation.boxed())
    }
}

impl Operation {
    async fn execute(self, steps: Vec<Step>) -> Outcome {
        let mut held: Vec<(String, Duration)> = Vec::new();
        let mut resized: Option<Resized> = None;
        for step in steps {
            match step {
                Step::StopSandbox { id } => {
                    if !self.stop_sandbox(&id).await {
                        return Outcome::Failed;
                    }
                }
                Step::CreateSandbox { attempt } => {
                    if !self.create_sandbox(attempt).await {
                        return Outcome::Failed;
                    }
                }
                Step::Kill { container, id, message, grace_seconds, .. } => {
                    let grace = grace_seconds.unwrap_or(self.pod.grace_seconds);
                    let killed =
                        kill(&self.context, &self.pod, &self.killing, &container, &id, &message, grace).await;
                    if !killed {
                        return Outcome::Failed;
                    }
                }
                Step::Start { container, attempt } => {
                    if let Err(failure) = self.start(&container, attempt).await {
                        let stops = failure.stops_others;
                        held.push((container, failure.retry_after));
                        if stops {
                            break;
                        }
                    }
                }
                // Neither is an operation.
                Step::Wait { .. } | Step::End => {}
                step => self.resize(step, resized.get_or_insert_default()).await,
            }
        }
        let resized = resized.map(|resized| Box::new((resized, self.allocation)));
        Outcome::Executed { held, resized }
    }

    async fn stop_sandbox(&self, id: &str) -> bool {
        let (context, pod) = (&self.context, &self.pod);
        const CHANGED: &str = "Pod sandbox changed, it will be killed and re-created.";
        context.events.record(pod.reference(), EventKind::Normal, "SandboxChanged", CHANGED);
        let request = v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        match context.runtime.service().stop_pod_sandbox(request).await {
            Ok(_) => true,
            Err(status) => {
                let message = format!("error killing pod: failed to \"KillPodSandbox\": {}", words(&status));
                context.events.record(pod.reference(), EventKind::Warning, "FailedKillPod", message);
                false
            }
        }
    }

    async fn create_sandbox(&self, attempt: u32) -> bool {
        let (context, pod) = (&self.context, &self.pod);
        let made = match self.sandbox_config(attempt) {
            Ok(config) => {
                let request =
                    v1::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
                context.runtime.service().run_pod_sandbox(request).await.map_err(|status| words(&status))
            }
            Err(error) => Err(error.to_string()),
        };
        match made {
            Ok(_) => {
                context.cgroups.apply(pod);
                context.cgroups.balance(context.admission.burstable_millis());
                true
            }
            Err(why) => {
                let message = format!("Failed to create pod sandbox: {why}");
                context.events.record(pod.reference(), EventKind::Warning, "FailedCreatePodSandBox", message);
                false
            }
        }
    }

    fn sandbox_config(&self, attempt: u32) -> Result<v1::PodSandboxConfig, SandboxConfigError> {
        sandbox_config(&self.context, &self.pod, attempt)
    }
}

/// The sandbox's configuration, which also goes with each container.
pub(super) fn sandbox_config(
    context: &Context,
    pod: &Pod,
    attempt: u32,
) -> Result<v1::PodSandboxConfig, SandboxConfigError> {
    let resolv_conf = std::fs::read_to_string(&context.resolv_conf).unwrap_or_default();
    let user = context.user_namespaces.of(pod).map_err(SandboxConfigError)?;
    let (config, warnings) = sandbox_config::of(&sandbox_config::Inputs {
        user: user.as_ref(),
        pod,
        attempt,
        node: &context.facts,
        paths: &context.paths,
        resolv_conf: &resolv_conf,
        cgroup_parent: &qos::cgroup_parent(pod, &context.cgroup_root),
    })?;
    for warning in warnings {
        context.events.record(pod.reference(), EventKind::Warning, warning.reason, warning.message);
    }
    Ok(config)
}

/// Removes containers with their logs and links, then sandboxes.
pub(super) async fn remove_garbage(
    context: &Context,
    observed: &Observed,
    garbage: Garbage,
) -> Result<(), tonic::Status> {
    for id in garbage.containers {
        let request = v1::RemoveContainerRequest { container_id: id.clone() };
        context.runtime.service().remove_container(request).await?;
        if let Some(container) = observed.containers.iter().find(|container| container.id == id) {
            remove_log(context, container);
        }
    }
    for id in garbage.sandboxes {
        let request = v1::RemovePodSandboxRequest { pod_sandbox_id: id };
        context.runtime.service().remove_pod_sandbox(request).await?;
    }
    Ok(())
}

/// Best effort: a log that stays goes with the pod's folder.
fn remove_log(context: &Context, container: &observed::ObservedContainer) {
    let label = |key: &str| container.status.labels.get(key).map(String::as_str).unwrap_or_default();
    let link = context.paths.container_logs.join(format!(
        "{}_{}_{}-{}.log",
        label(crate::labels::POD_NAME),
        label(crate::labels::POD_NAMESPACE),
        container.name,
        container.id
    ));
    for path in [link.as_path(), std::path::Path::new(&container.status.log_path)] {
        if let Err(error) = std::fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!(path = %path.display(), %error, "an old log is not removed");
        }
    }
}

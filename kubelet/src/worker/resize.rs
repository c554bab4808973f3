//! Resizing in place: asking the node for room, and giving what was granted to what runs.
//!
//! A failed try holds up nothing else of the pod; it is repeated after a while.

use std::sync::Arc;

use client::EventKind;
use cri_api::v1;
use tokio::time::Instant;
use tonic::Code;

use super::operate::Operation;
use super::{Stage, Worker};
use crate::allocation::Allocation;
use crate::container_config::{Sizes, resources};
use crate::images::words;
use crate::plan::Step;
use crate::resize::{self, Given, Pending, Progress};

/// What the steps of one operation gave.
#[derive(Debug, Default)]
pub(super) struct Resized {
    pub given: Given,
    /// Why they stopped.
    pub error: Option<String>,
}

impl Worker {
    /// Asks for room where the pod wants another size than it was granted.
    pub(super) fn settle_size(&mut self) {
        if self.stage != Stage::Running {
            return;
        }
        let wanted = Allocation::of(&self.asked);
        if wanted == self.allocation {
            if self.resize.pending.take().is_some() {
                self.context.admission.withdraw(&self.asked);
            }
            return;
        }
        let generation = self.asked.generation;
        match self.context.admission.resize(&self.asked, &self.pod) {
            Ok(()) => {
                self.allocation = wanted;
                self.pod = self.asked.clone();
                self.resize.pending = None;
                self.resize.progress = Some(Progress { generation, ..Progress::default() });
                self.resize_retry.reset();
                self.resize_at = None;
                self.tell_resize(EventKind::Normal, resize::STARTED, "started", None);
            }
            Err(no) => {
                let pending = Pending { wait: no.wait, message: no.message, generation };
                if self.resize.pending.as_ref() == Some(&pending) {
                    return;
                }
                let told = resize::message(no.wait.reason(), &self.asked, generation, Some(&pending.message));
                let event = no.wait.event();
                self.context.events.record(self.asked.reference(), EventKind::Warning, event, told);
                self.resize.pending = Some(pending);
            }
        }
    }

    fn tell_resize(&self, kind: EventKind, reason: &str, what: &str, error: Option<&str>) {
        let generation =
            self.resize.progress.as_ref().map_or(self.pod.generation, |progress| progress.generation);
        let message = resize::message(what, &self.pod, generation, error);
        self.context.events.record(self.pod.reference(), kind, reason, message);
    }

    /// What a plan has to give; none while a failed try rests.
    pub(super) fn resize_due(&mut self) -> bool {
        if self.resize.progress.is_none() {
            return false;
        }
        match self.resize_at.filter(|at| *at > Instant::now()) {
            Some(at) => {
                self.wake_in(at.duration_since(Instant::now()));
                false
            }
            None => true,
        }
    }

    /// A plan found nothing more to give.
    pub(super) fn complete_resize(&mut self) {
        if self.resize.progress.is_some() {
            self.tell_resize(EventKind::Normal, resize::COMPLETED, "completed", None);
            self.resize.progress = None;
        }
    }

    pub(super) fn take_resized(&mut self, resized: Resized, granted: &Allocation) {
        // Of an allocation that was overtaken nothing is known.
        if *granted != self.allocation {
            return;
        }
        let Some(progress) = &mut self.resize.progress else { return };
        progress.given.containers.extend(resized.given.containers);
        progress.given.pod |= resized.given.pod;
        let is_news = resized.error.is_some() && progress.error != resized.error;
        progress.error = resized.error.clone();
        let Some(error) = resized.error else { return };
        let wait = self.resize_retry.next(self.context.client.surroundings().random);
        self.resize_at = Some(Instant::now() + wait);
        if is_news {
            self.tell_resize(EventKind::Warning, resize::ERROR, "error", Some(&error));
        }
    }
}

impl Operation {
    /// One step; the first that fails is the last.
    pub(super) async fn resize(&self, step: Step, resized: &mut Resized) {
        if resized.error.is_some() {
            return;
        }
        if let Err(error) = self.try_resize(step, &mut resized.given).await {
            resized.error = Some(error);
        }
    }

    async fn try_resize(&self, step: Step, given: &mut Given) -> Result<(), String> {
        let (context, pod) = (&self.context, &self.pod);
        match step {
            Step::CheckPodMemory { limit } => match context.cgroups.memory_used(pod) {
                Some(used) if used >= limit => {
                    Err(format!("attempting to set pod memory limit ({limit}) below current usage ({used})"))
                }
                _ => Ok(()),
            },
            Step::CheckMemory { container, id, limit } => match self.memory_used(&id).await? {
                Some(used) if used >= limit => Err(format!(
                    "attempting to set container {container:?} memory limit ({limit}) below current usage ({used})"
                )),
                _ => Ok(()),
            },
            Step::RaisePod => context.cgroups.raise(pod).map_err(|error| error.to_string()),
            Step::Resize { id, sizes, .. } => {
                self.update(&id, sizes).await?;
                given.containers.insert(id, sizes);
                Ok(())
            }
            Step::SettlePod => {
                context.cgroups.settle(pod).map_err(|error| error.to_string())?;
                context.cgroups.balance(context.admission.burstable_millis());
                self.tell_sandbox().await;
                given.pod = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn memory_used(&self, id: &str) -> Result<Option<i64>, String> {
        let request = v1::ContainerStatsRequest { container_id: id.to_owned() };
        let answer =
            self.context.runtime.service().container_stats(request).await.map_err(|status| words(&status))?;
        let memory = answer.into_inner().stats.and_then(|stats| stats.memory);
        let used = memory.and_then(|memory| memory.usage_bytes.or(memory.working_set_bytes));
        Ok(used.and_then(|used| i64::try_from(used.value).ok()))
    }

    async fn update(&self, id: &str, sizes: Sizes) -> Result<(), String> {
        let request = v1::UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(sizes.to_cri()),
            ..Default::default()
        };
        match self.context.runtime.service().update_container_resources(request).await {
            Ok(_) => Ok(()),
            // It ended meanwhile: the next one is made with these sizes.
            Err(status) if matches!(status.code(), Code::NotFound | Code::FailedPrecondition) => Ok(()),
            Err(status) => Err(words(&status)),
        }
    }

    /// Runtimes may note it; it changes nothing that we rely on.
    async fn tell_sandbox(&self) {
        let Some(sandbox) = self.observed.ready_sandbox() else { return };
        let request = v1::UpdatePodSandboxResourcesRequest {
            pod_sandbox_id: sandbox.id.clone(),
            overhead: Some(resources::overhead(&self.pod)),
            resources: Some(resources::of_pod(&self.pod)),
        };
        if let Err(error) = self.context.runtime.service().update_pod_sandbox_resources(request).await {
            tracing::debug!(sandbox = %sandbox.id, %error, "the runtime does not note a pod's new size");
        }
    }
}

/// A worker that starts finds what one before it has granted.
pub(super) fn recalled(pod: &Arc<crate::pod::Pod>) -> (Allocation, resize::Resize) {
    let allocation = Allocation::recalled(pod);
    let progress = crate::allocation::was_in_progress(pod)
        .then(|| Progress { generation: pod.generation, ..Progress::default() });
    (allocation, resize::Resize { pending: None, progress })
}

//! Does the steps of a plan: whose pods they are first, then the status, then finalizers, pods last.

use std::sync::Arc;

use api::meta::Meta;
use client::{ClientError, EventKind, Key, Object, Patch, Reference, Resource};
use serde_json::{Value, json};

use super::Controller;
use super::indexes::{FAILURES, IGNORED, INDEX};
use super::plan::{ClaimStep, FINALIZER, Plan, Slot, Step};
use crate::owned_pods::OwnedPods;
use crate::ownership;
use crate::pod_template::{self, Name, mark};

pub(super) async fn execute(
    controller: &Controller,
    job: &Arc<Object>,
    plan: &Plan,
) -> Result<(), ClientError> {
    for claim in &plan.claims {
        match claim {
            ClaimStep::Adopt { pod, uid } => {
                let owner = (&Resource::JOBS, job.value());
                ownership::adopt(&controller.client, owner, &Resource::PODS, pod, uid).await?;
            }
            ClaimStep::Release { pod, uid } => {
                ownership::release(&controller.client, job.value(), &Resource::PODS, pod, uid).await?;
            }
        }
    }
    if let Some(status) = &plan.status {
        let mut fresh = job.value().clone();
        fresh["status"] = status.clone();
        controller.client.update_subresource(&Resource::JOBS, "status", &fresh).await?;
        for (warning, reason, message) in &plan.events {
            let kind = if *warning { EventKind::Warning } else { EventKind::Normal };
            controller.events.record(Reference::to(job), kind, reason, message.clone());
        }
    }
    let owned = OwnedPods {
        client: &controller.client,
        events: &controller.events,
        expectations: &controller.expectations,
        owner: job,
    };
    for step in &plan.steps {
        match step {
            Step::Unmark { pod } => unmark(controller, pod).await?,
            Step::Create(count) => {
                let pods = (0..*count).map(|_| pod_of(job.value(), None)).collect();
                owned.create(pods).await?;
            }
            Step::CreateIndexes(slots) => {
                let pods = slots.iter().map(|slot| pod_of(job.value(), Some(*slot))).collect();
                owned.create(pods).await?;
            }
            Step::Discard(pods) => {
                for (pod, _) in pods {
                    unmark(controller, pod).await?;
                }
                owned.delete(pods).await?;
            }
            Step::Delete(pods) => owned.delete(pods).await?,
        }
    }
    Ok(())
}

async fn unmark(controller: &Controller, pod: &Key) -> Result<(), ClientError> {
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
    let pods = &Resource::PODS;
    match controller.client.patch(pods, &pod.namespace, &pod.name, Patch::Strategic, &patch).await {
        Err(error) if error.is_not_found() => Ok(()),
        answer => answer.map(drop),
    }
}

/// A pod of the Job's template; one with an index knows it.
fn pod_of(job: &Value, slot: Option<Slot>) -> Value {
    let name = Meta::of(job).name().to_owned();
    let base = slot.map_or_else(|| format!("{name}-"), |slot| format!("{name}-{}-", slot.index));
    let mut pod = pod_template::pod(&Resource::JOBS, job, Name::Generated(base));
    let mut finalizers = pod["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    finalizers.push(FINALIZER.into());
    pod["metadata"]["finalizers"] = finalizers.into();
    let Some(Slot { index, failures }) = slot else { return pod };
    if let Some(failures) = failures {
        mark(&mut pod, "annotations", FAILURES, failures.counted.to_string());
        if failures.ignored > 0 {
            mark(&mut pod, "annotations", IGNORED, failures.ignored.to_string());
        }
    }
    mark(&mut pod, "annotations", INDEX, index.to_string());
    mark(&mut pod, "labels", INDEX, index.to_string());
    pod["spec"]["hostname"] = format!("{name}-{index}").into();
    let variable = json!({"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"fieldPath":
        format!("metadata.labels['{INDEX}']")}}});
    for list in ["initContainers", "containers"] {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let mut env = container["env"].as_array().cloned().unwrap_or_default();
            if !env.iter().any(|known| known["name"] == "JOB_COMPLETION_INDEX") {
                env.push(variable.clone());
                container["env"] = env.into();
            }
        }
    }
    pod
}

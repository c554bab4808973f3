//! Does the steps of a plan: patches, creations in growing batches, deletions.

use std::sync::Arc;

use client::{ClientError, EventKind, Key, Object, Resource};
use tokio::task::JoinSet;

use super::Controller;
use super::plan::Step;
use crate::owned_pods::OwnedPods;
use crate::ownership;
use crate::pod_template::{self, Name};

/// The first batch of creations; each that succeeds allows one of twice the size.
const FIRST_BATCH: usize = 1;

/// What could not be done, as the status tells it.
#[derive(Debug)]
pub(super) struct Failure {
    pub reason: &'static str,
    pub error: ClientError,
}

/// Does all steps; the first failure, after the others were tried.
pub(super) async fn execute(controller: &Controller, set: &Arc<Object>, steps: &[Step]) -> Option<Failure> {
    let mut failure = None;
    for step in steps {
        let done = match step {
            Step::Adopt { pod, uid } => {
                let owner = (&controller.family.resource, set.value());
                let adopted = ownership::adopt(&controller.client, owner, &Resource::PODS, pod, uid).await;
                adopted.map_err(|error| Failure { reason: "FailedAdopt", error })
            }
            Step::Release { pod, uid } => {
                let released =
                    ownership::release(&controller.client, set.value(), &Resource::PODS, pod, uid).await;
                released.map_err(|error| Failure { reason: "FailedRelease", error })
            }
            Step::Create(count) => create(controller, set, *count).await,
            Step::Delete(pods) => delete(controller, set, pods).await,
        };
        failure = failure.or(done.err());
    }
    failure
}

fn owned<'a>(controller: &'a Controller, set: &'a Arc<Object>) -> OwnedPods<'a> {
    OwnedPods {
        client: &controller.client,
        events: &controller.events,
        expectations: &controller.expectations,
        owner: set,
    }
}

/// Creates pods in batches of 1, 2, 4 and so on: a quota or an admission that refuses all is asked once, not 500 times.
async fn create(controller: &Controller, set: &Arc<Object>, count: usize) -> Result<(), Failure> {
    let pods = owned(controller, set);
    let name = Name::Generated(format!("{}-", set.key.name));
    let pod = Arc::new(pod_template::pod(&controller.family.resource, set.value(), name));
    controller.expectations.creating(&set.key, count);
    let (mut left, mut batch) = (count, FIRST_BATCH);
    while left > 0 {
        let now = batch.min(left);
        let made = pods.create_expected((0..now).map(|_| pod.clone())).await;
        left -= now;
        if let Err(error) = made {
            (0..left).for_each(|_| controller.expectations.created(&set.key));
            return Err(Failure { reason: "FailedCreate", error });
        }
        batch *= 2;
    }
    Ok(())
}

async fn delete(controller: &Controller, set: &Arc<Object>, pods: &[(Key, String)]) -> Result<(), Failure> {
    let owned = owned(controller, set);
    let mut tasks = JoinSet::new();
    for (pod, uid) in pods {
        controller.expectations.deleting(&set.key, uid);
        let (client, pod, uid) = (controller.client.clone(), pod.clone(), uid.clone());
        tasks.spawn(async move {
            let answer = client.delete(&Resource::PODS, &pod.namespace, &pod.name, Some(&uid), None).await;
            (pod, uid, answer)
        });
    }
    let mut failure = None;
    while let Some(ended) = tasks.join_next().await {
        let Ok((pod, uid, answer)) = ended else { continue };
        match answer {
            Ok(_) => owned.deleted(&pod),
            // Gone, or another one of that name by now.
            Err(error) if error.is_not_found() || error.is_conflict() => {
                controller.expectations.deleted(&set.key, &uid)
            }
            Err(error) => {
                controller.expectations.deleted(&set.key, &uid);
                owned.tell(EventKind::Warning, "FailedDelete", format!("Error deleting: {error}"));
                failure = Some(Failure { reason: "FailedDelete", error });
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

//! Deployments: one ReplicaSet per pod template, and the way from the old one to the new.
//!
//! Not pods: ReplicaSets make and delete them. A rollback is a patch of the template by whoever wants it; the
//! ReplicaSet of that template is found again by comparing, never by its name.
//!
//! Reference: upstream's pkg/controller/deployment; annotations `deployment.kubernetes.io/*`.

mod execute;
mod plan;
mod progress;
mod replicas;
mod revision;
mod rolling;
mod scaling;
mod status;
mod template;

pub(crate) use template::hash as template_hash;

use std::sync::Arc;

use api::selector::LabelSelector;
use client::{
    Cache, Change, Client, ClientError, EventKind, EventRecorder, Key, Object, Outcome, Reference, Resource,
    WorkQueue, work,
};

use crate::context::Context;
use crate::fields::{is_deleting, text};
use crate::ownership::{self, Claim, claim, owner_key, suitors};

const NAME: &str = "deployment-controller";
const WORKERS: usize = 5;

struct Controller {
    client: Client,
    events: EventRecorder,
    deployments: Cache,
    replica_sets: Cache,
    pods: Cache,
}

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let client = context.client_of(NAME)?;
    let controller = Arc::new(Controller {
        events: EventRecorder::start(client.clone(), NAME, ""),
        client,
        deployments: context.caches.of(&Resource::DEPLOYMENTS),
        replica_sets: context.caches.of(&Resource::REPLICA_SETS),
        pods: context.caches.of(&Resource::PODS),
    });
    for cache in [&controller.deployments, &controller.replica_sets, &controller.pods] {
        cache.synced().await;
    }
    let queue = WorkQueue::new();
    let adding = queue.clone();
    controller.deployments.subscribe(move |change| adding.add(change.key.clone()));
    let (adding, deployments) = (queue.clone(), controller.deployments.clone());
    controller.replica_sets.subscribe(move |change| set_changed(&change, &deployments, &adding));
    let (adding, sets) = (queue.clone(), controller.replica_sets.clone());
    controller.pods.subscribe(move |change| pod_changed(&change, &sets, &adding));
    work(NAME, queue, WORKERS, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
    Ok(())
}

fn set_changed(change: &Change<'_>, deployments: &Cache, queue: &WorkQueue<Key>) {
    for object in [change.before, change.after].into_iter().flatten() {
        if let Some(key) = owner_key(object, "Deployment") {
            queue.add(key);
        }
    }
    suitors(change, deployments).into_iter().for_each(|key| queue.add(key));
}

/// A pod that is over or gone lets a `Recreate` go on.
fn pod_changed(change: &Change<'_>, sets: &Cache, queue: &WorkQueue<Key>) {
    let over = change.after.is_none_or(|pod| crate::pod::is_over(pod.value()));
    if let Some(pod) = change.object().filter(|_| over)
        && let Some(set) = owner_key(pod, "ReplicaSet").and_then(|key| sets.get(&key))
        && let Some(key) = owner_key(&set, "Deployment")
    {
        queue.add(key);
    }
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, ClientError> {
        let Some(deployment) = self.deployments.get(key) else { return Ok(Outcome::Done) };
        let selector = LabelSelector::from_object(deployment.value().pointer("/spec/selector"));
        let Ok(selector) = selector.map_err(|error| tracing::warn!(%key, %error, "an unusable selector"))
        else {
            return Ok(Outcome::Done);
        };
        if selector.is_everything() {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.events.record(Reference::to(&deployment), EventKind::Warning, "SelectingAll", message);
            return Ok(Outcome::Done);
        }
        let sets = self.claimed(&deployment, &selector).await?;
        let observed = plan::Observed {
            old_pods_run: self.pods_run(&deployment, &sets),
            sets: sets.iter().map(|set| set.value().clone()).collect(),
            now: (self.client.surroundings().now)(),
        };
        let plan = plan::plan(deployment.value(), &observed);
        match execute::execute(self, &deployment, plan.steps).await {
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(Outcome::Again),
            Err(error) if error.namespace_is_terminating() => Ok(Outcome::Done),
            Err(error) => Err(error),
            Ok(()) => Ok(plan.look_again.map_or(Outcome::Done, Outcome::After)),
        }
    }

    /// The ReplicaSets that are its own, after adopting and releasing.
    async fn claimed(
        &self,
        deployment: &Arc<Object>,
        selector: &LabelSelector,
    ) -> Result<Vec<Arc<Object>>, ClientError> {
        let mut owned = Vec::new();
        let resource = &Resource::REPLICA_SETS;
        for set in self.replica_sets.list(&deployment.key.namespace) {
            match claim(deployment.value(), selector, set.value()) {
                Claim::Owned => owned.push(set),
                Claim::Adopt => {
                    let owner = (&Resource::DEPLOYMENTS, deployment.value());
                    ownership::adopt(&self.client, owner, resource, &set.key, &set.uid).await?;
                    owned.push(set);
                }
                Claim::Release => {
                    ownership::release(&self.client, deployment.value(), resource, &set.key, &set.uid)
                        .await?;
                }
                Claim::Foreign => {}
            }
        }
        Ok(owned)
    }

    /// Whether pods of other templates than the current one still run; only `Recreate` asks.
    fn pods_run(&self, deployment: &Object, sets: &[Arc<Object>]) -> bool {
        if text(deployment.value(), "/spec/strategy/type") != "Recreate" {
            return false;
        }
        let old = |uid: &str| {
            sets.iter().any(|set| set.uid == uid && !template::is_current(deployment.value(), set.value()))
        };
        let runs = |pod: &Arc<Object>| {
            !crate::pod::is_over(pod.value()) && pod.meta().controller().is_some_and(|owner| old(owner.uid))
        };
        !is_deleting(deployment.value()) && self.pods.list(&deployment.key.namespace).iter().any(runs)
    }
}

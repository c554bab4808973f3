//! StatefulSets: pods with names and claims of their own, one after the other.
//!
//! Reference: upstream's pkg/controller/statefulset.

mod execute;
mod plan;
mod pod_of;
mod retention;

use std::sync::Arc;

use client::{
    Cache, Change, Client, ClientError, EventRecorder, Key, Object, Outcome, Resource, WorkQueue, work,
};

use crate::context::Context;
use crate::fields::{int, is_deleting, list, text};
use crate::history::History;
use crate::ownership::{self, Claim, claim, owner_key, selector_of, suitors};

const NAME: &str = "statefulset-controller";
const WORKERS: usize = 5;

struct Controller {
    client: Client,
    events: EventRecorder,
    sets: Cache,
    pods: Cache,
    claims: Cache,
    revisions: Cache,
}

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let client = context.client_of(NAME)?;
    let controller = Arc::new(Controller {
        events: EventRecorder::start(client.clone(), NAME, ""),
        client,
        sets: context.caches.of(&Resource::STATEFUL_SETS),
        pods: context.caches.of(&Resource::PODS),
        claims: context.caches.of(&Resource::VOLUME_CLAIMS),
        revisions: context.caches.of(&Resource::CONTROLLER_REVISIONS),
    });
    for cache in [&controller.sets, &controller.pods, &controller.claims, &controller.revisions] {
        cache.synced().await;
    }
    let queue = WorkQueue::new();
    let adding = queue.clone();
    controller.sets.subscribe(move |change| adding.add(change.key.clone()));
    for cache in [&controller.pods, &controller.revisions] {
        let (adding, sets) = (queue.clone(), controller.sets.clone());
        cache.subscribe(move |change| {
            for object in [change.before, change.after].into_iter().flatten() {
                owner_key(object, "StatefulSet").into_iter().for_each(|key| adding.add(key));
            }
            suitors(&change, &sets).into_iter().for_each(|key| adding.add(key));
        });
    }
    let adding = queue.clone();
    controller.claims.subscribe(move |change| claim_changed(&change, &adding));
    work(NAME, queue, WORKERS, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
    Ok(())
}

/// A claim that went with its pod is waited for by the next pod of the name.
fn claim_changed(change: &Change<'_>, queue: &WorkQueue<Key>) {
    let Some(claim) = change.before.filter(|_| change.after.is_none()) else { return };
    for owner in list(claim.value(), "/metadata/ownerReferences") {
        if let Some((set, _)) = text(owner, "/name").rsplit_once('-').filter(|_| owner["kind"] == "Pod") {
            queue.add(Key::new(claim.key.namespace.clone(), set));
        }
    }
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, ClientError> {
        let Some(set) = self.sets.get(key) else { return Ok(Outcome::Done) };
        let history = History::read(&self.revisions, &Resource::STATEFUL_SETS, &set);
        let outcome = self.act(&set, &history).await;
        match outcome {
            Err(error) if error.is_conflict() || error.is_not_found() || error.already_exists() => {
                Ok(Outcome::Again)
            }
            Err(error) if error.namespace_is_terminating() => Ok(Outcome::Done),
            outcome => outcome,
        }
    }

    async fn act(&self, set: &Arc<Object>, history: &History) -> Result<Outcome, ClientError> {
        if is_deleting(set.value()) {
            return Ok(Outcome::Done);
        }
        history.keep(&self.client).await?;
        let pods = self.claimed(set).await?;
        let now = (self.client.surroundings().now)();
        let claims = self.claims.list(&set.key.namespace);
        let observed = plan::Observed { pods: &pods, claims: &claims, update: &history.name, now };
        let plan = plan::plan(set.value(), &observed);
        let done = execute::execute(self, set, history, &plan.steps).await;
        if let Some(status) = &plan.status {
            let mut fresh = set.value().clone();
            fresh["status"] = status.clone();
            self.client.update_subresource(&Resource::STATEFUL_SETS, "status", &fresh).await?;
        }
        done?;
        let mut live: Vec<&str> = pods.iter().map(|pod| plan::revision_of(pod.value())).collect();
        live.push(text(set.value(), "/status/currentRevision"));
        history.forget(&self.client, int(set.value(), "/spec/revisionHistoryLimit"), &live).await?;
        Ok(plan.look_again.map_or(Outcome::Done, Outcome::After))
    }

    /// The pods that are its own, after adopting and releasing.
    async fn claimed(&self, set: &Arc<Object>) -> Result<Vec<Arc<Object>>, ClientError> {
        let selector = selector_of(set.value());
        let mut own = Vec::new();
        for pod in self.pods.list(&set.key.namespace) {
            // Only a pod with such a name can be one of the set's.
            let named = plan::ordinal(&set.key.name, &pod.key.name).is_some();
            match claim(set.value(), &selector, pod.value()) {
                Claim::Owned => own.push(pod),
                Claim::Adopt if named => {
                    let owner = (&Resource::STATEFUL_SETS, set.value());
                    ownership::adopt(&self.client, owner, &Resource::PODS, &pod.key, &pod.uid).await?;
                    own.push(pod);
                }
                Claim::Release => {
                    ownership::release(&self.client, set.value(), &Resource::PODS, &pod.key, &pod.uid)
                        .await?;
                }
                Claim::Adopt | Claim::Foreign => {}
            }
        }
        Ok(own)
    }
}

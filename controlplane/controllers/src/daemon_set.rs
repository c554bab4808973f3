//! DaemonSets: one pod on every node that the template wants.
//!
//! The pods go through the scheduler like all others, each bound to its node by an affinity to the node's name.
//!
//! Reference: upstream's pkg/controller/daemon.

mod execute;
mod plan;
mod surge;

use std::sync::Arc;

use client::{
    Cache, Change, Client, ClientError, EventRecorder, Key, Object, Outcome, Resource, WorkQueue, work,
};

use crate::context::Context;
use crate::expectations::Expectations;
use crate::fields::{int, is_deleting};
use crate::history::History;
use crate::ownership::{self, Claim, claim, owner_key, selector_of, suitors};

const KIND: &str = "DaemonSet";
const NAME: &str = "daemon-set-controller";
const WORKERS: usize = 2;

struct Controller {
    client: Client,
    events: EventRecorder,
    sets: Cache,
    pods: Cache,
    nodes: Cache,
    revisions: Cache,
    expectations: Arc<Expectations>,
}

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let client = context.client_of(NAME)?;
    let controller = Arc::new(Controller {
        events: EventRecorder::start(client.clone(), NAME, ""),
        client,
        sets: context.caches.of(&Resource::DAEMON_SETS),
        pods: context.caches.of(&Resource::PODS),
        nodes: context.caches.of(&Resource::NODES),
        revisions: context.caches.of(&Resource::CONTROLLER_REVISIONS),
        expectations: Arc::default(),
    });
    for cache in [&controller.sets, &controller.pods, &controller.nodes, &controller.revisions] {
        cache.synced().await;
    }
    let queue = WorkQueue::new();
    let adding = queue.clone();
    controller.sets.subscribe(move |change| adding.add(change.key.clone()));
    let (adding, sets) = (queue.clone(), controller.sets.clone());
    controller.nodes.subscribe(move |change| {
        if node_matters(&change) {
            sets.list("").iter().for_each(|set| adding.add(set.key.clone()));
        }
    });
    let (adding, sets, expectations) =
        (queue.clone(), controller.sets.clone(), controller.expectations.clone());
    controller.pods.subscribe(move |change| pod_changed(&change, &sets, &expectations, &adding));
    let adding = queue.clone();
    controller.revisions.subscribe(move |change| {
        let owner = change.object().and_then(|revision| owner_key(revision, KIND));
        owner.into_iter().for_each(|key| adding.add(key));
    });
    work(NAME, queue, WORKERS, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
    Ok(())
}

/// A heartbeat does not matter; labels, taints and coming and going do.
fn node_matters(change: &Change<'_>) -> bool {
    let (Some(before), Some(after)) = (change.before, change.after) else { return true };
    let (before, after) = (before.value(), after.value());
    before["metadata"]["labels"] != after["metadata"]["labels"] || before["spec"] != after["spec"]
}

fn pod_changed(change: &Change<'_>, sets: &Cache, expectations: &Expectations, queue: &WorkQueue<Key>) {
    let (before, after) = expectations.observe(change, |pod| owner_key(pod, KIND));
    for key in [before, after].into_iter().flatten().chain(suitors(change, sets)) {
        queue.add(key);
    }
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, ClientError> {
        let satisfied = self.expectations.satisfied(key);
        let Some(set) = self.sets.get(key) else {
            self.expectations.forget(key);
            return Ok(Outcome::Done);
        };
        if is_deleting(set.value()) {
            return Ok(Outcome::Done);
        }
        match self.act(&set, satisfied).await {
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(Outcome::Again),
            Err(error) if error.namespace_is_terminating() => Ok(Outcome::Done),
            outcome => outcome,
        }
    }

    async fn act(&self, set: &Arc<Object>, may_manage: bool) -> Result<Outcome, ClientError> {
        let history = History::read(&self.revisions, &Resource::DAEMON_SETS, set);
        history.keep(&self.client).await?;
        let observed = plan::Observed {
            pods: self.claimed(set).await?,
            nodes: self.nodes.list(""),
            hash: history.hash.clone(),
            may_manage,
            now: (self.client.surroundings().now)(),
        };
        let plan = plan::plan(set.value(), &observed);
        let done = execute::execute(self, set, &history.hash, &plan.steps).await;
        if let Some(status) = &plan.status {
            let mut fresh = set.value().clone();
            fresh["status"] = status.clone();
            self.client.update_subresource(&Resource::DAEMON_SETS, "status", &fresh).await?;
        }
        done?;
        let live: Vec<&str> = observed.pods.iter().map(|pod| plan::hash_of(pod.value())).collect();
        history.forget(&self.client, int(set.value(), "/spec/revisionHistoryLimit"), &live).await?;
        Ok(plan.look_again.map_or(Outcome::Done, Outcome::After))
    }

    /// The pods that are its own, after adopting and releasing.
    async fn claimed(&self, set: &Arc<Object>) -> Result<Vec<Arc<Object>>, ClientError> {
        let selector = selector_of(set.value());
        let mut own = Vec::new();
        for pod in self.pods.list(&set.key.namespace) {
            match claim(set.value(), &selector, pod.value()) {
                Claim::Owned => own.push(pod),
                Claim::Adopt => {
                    let owner = (&Resource::DAEMON_SETS, set.value());
                    ownership::adopt(&self.client, owner, &Resource::PODS, &pod.key, &pod.uid).await?;
                    own.push(pod);
                }
                Claim::Release => {
                    ownership::release(&self.client, set.value(), &Resource::PODS, &pod.key, &pod.uid)
                        .await?;
                }
                Claim::Foreign => {}
            }
        }
        Ok(own)
    }
}

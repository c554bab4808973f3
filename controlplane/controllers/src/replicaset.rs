//! ReplicaSets and ReplicationControllers: as many pods of a template as asked for.
//!
//! Not which template, nor the change from one to another: that is `deployment`. The two kinds differ in name and in
//! the form of their selector only; each has a controller of its own with an identity of its own.
//!
//! Reference: upstream's pkg/controller/replicaset and replication.

mod execute;
mod plan;
mod status;

use std::sync::Arc;
use std::time::Duration;

use api::meta::Meta;
use client::{
    Cache, Change, Client, ClientError, EventRecorder, Key, Object, Outcome, Resource, WorkQueue, work,
};

use crate::context::Context;
use crate::expectations::Expectations;
use crate::ownership::{owner_key, suitors};

const WORKERS: usize = 5;

/// One of the two kinds.
pub(crate) struct Family {
    resource: Resource,
    /// The controller's name and account.
    name: &'static str,
}

pub(crate) static REPLICA_SETS: Family =
    Family { resource: Resource::REPLICA_SETS, name: "replicaset-controller" };
pub(crate) static REPLICATION_CONTROLLERS: Family =
    Family { resource: Resource::REPLICATION_CONTROLLERS, name: "replication-controller" };

struct Controller {
    family: &'static Family,
    client: Client,
    events: EventRecorder,
    replica_sets: Cache,
    pods: Cache,
    expectations: Arc<Expectations>,
}

pub(crate) async fn run(context: Arc<Context>, family: &'static Family) -> Result<(), ClientError> {
    let client = context.client_of(family.name)?;
    let controller = Arc::new(Controller {
        family,
        events: EventRecorder::start(client.clone(), family.name, ""),
        client,
        replica_sets: context.caches.of(&family.resource),
        pods: context.caches.of(&Resource::PODS),
        expectations: Arc::default(),
    });
    controller.replica_sets.synced().await;
    controller.pods.synced().await;
    let queue = WorkQueue::new();
    let adding = queue.clone();
    controller.replica_sets.subscribe(move |change| adding.add(change.key.clone()));
    let (adding, replica_sets) = (queue.clone(), controller.replica_sets.clone());
    let expectations = controller.expectations.clone();
    controller.pods.subscribe(move |change| {
        pod_changed(family, &change, &replica_sets, &expectations, &adding);
    });
    work(family.name, queue, WORKERS, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
    Ok(())
}

/// Whom a change of a pod concerns: its controllers before and after; for an orphan everybody who selects it.
fn pod_changed(
    family: &Family,
    change: &Change<'_>,
    sets: &Cache,
    expectations: &Expectations,
    queue: &WorkQueue<Key>,
) {
    let (before, after) = expectations.observe(change, |pod| owner_key(pod, &family.resource.kind));
    for key in [before, after].into_iter().flatten().chain(suitors(change, sets)) {
        queue.add(key);
    }
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, ClientError> {
        // Asked before the caches are read: what is outstanding now may be missing in them.
        let satisfied = self.expectations.satisfied(key);
        let Some(set) = self.replica_sets.get(key) else {
            self.expectations.forget(key);
            return Ok(Outcome::Done);
        };
        let now = (self.client.surroundings().now)();
        let observed = plan::Observed {
            pods: self.pods.list(&key.namespace),
            related: self.related(&set),
            may_manage: satisfied,
            now,
        };
        let plan = plan::plan(set.value(), &observed);
        let failure = execute::execute(self, &set, &plan.steps).await;
        let status = status::status(set.value(), &plan.owned, plan.terminating, failure.as_ref(), now);
        if let Some(status) = status {
            let mut fresh = set.value().clone();
            fresh["status"] = status;
            match self.client.update_subresource(&self.family.resource, "status", &fresh).await {
                Err(error) if error.is_conflict() || error.is_not_found() => return Ok(Outcome::Again),
                answer => drop(answer?),
            }
        }
        if let Some(failure) = failure {
            return if failure.error.namespace_is_terminating() {
                Ok(Outcome::Done)
            } else {
                Err(failure.error)
            };
        }
        Ok(plan.look_again.map_or(Outcome::Done, |wait| Outcome::After(wait + Duration::from_secs(1))))
    }

    /// UIDs of the sets under the same owner: their pods count as neighbours when pods to delete are ranked.
    fn related(&self, set: &Object) -> Vec<String> {
        let Some(owner) = set.meta().controller() else { return vec![set.uid.clone()] };
        let same =
            |other: &Arc<Object>| Meta::of(other.value()).controller().is_some_and(|o| o.uid == owner.uid);
        self.replica_sets
            .list(&set.key.namespace)
            .iter()
            .filter(|other| same(other))
            .map(|o| o.uid.clone())
            .collect()
    }
}

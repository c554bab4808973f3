//! Disruption: how many pods of a PodDisruptionBudget may go now.
//!
//! Not the evictions: they take from the number that is written here, one by one.
//!
//! Reference: upstream's pkg/controller/disruption, policy/v1.

mod plan;

use std::sync::Arc;

use api::selector::LabelSelector;
use client::{
    Cache, Change, Client, ClientError, EventKind, EventRecorder, Key, Object, Outcome, Reference, Resource,
    WorkQueue, work,
};
use serde_json::Value;

use crate::context::Context;
use crate::fields::int;

const NAME: &str = "disruption-controller";

struct Controller {
    client: Client,
    events: EventRecorder,
    budgets: Cache,
    pods: Cache,
    /// What says how many pods there should be.
    scales: Vec<Cache>,
}

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let client = context.client_of(NAME)?;
    let of = |resource| context.caches.of(resource);
    let controller = Arc::new(Controller {
        events: EventRecorder::start(client.clone(), "controllermanager", ""),
        client,
        budgets: of(&Resource::DISRUPTION_BUDGETS),
        pods: of(&Resource::PODS),
        scales: [
            &Resource::DEPLOYMENTS,
            &Resource::REPLICA_SETS,
            &Resource::STATEFUL_SETS,
            &Resource::REPLICATION_CONTROLLERS,
        ]
        .map(of)
        .into(),
    });
    for cache in [&controller.budgets, &controller.pods].into_iter().chain(&controller.scales) {
        cache.synced().await;
    }
    let queue = WorkQueue::new();
    let adding = queue.clone();
    controller.budgets.subscribe(move |change| adding.add(change.key.clone()));
    let (adding, budgets) = (queue.clone(), controller.budgets.clone());
    controller.pods.subscribe(move |change| pod_changed(&change, &budgets, &adding));
    for cache in &controller.scales {
        let (adding, budgets) = (queue.clone(), controller.budgets.clone());
        cache.subscribe(move |change| {
            let replicas =
                |object: Option<&Arc<Object>>| object.map(|o| o.value()["spec"]["replicas"].clone());
            if replicas(change.before) != replicas(change.after) {
                budgets.list(&change.key.namespace).iter().for_each(|budget| adding.add(budget.key.clone()));
            }
        });
    }
    work(NAME, queue, 1, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
    Ok(())
}

fn selects(budget: &Value, pod: &Object) -> bool {
    let selector = LabelSelector::from_object(budget.pointer("/spec/selector"));
    let empty = serde_json::Map::new();
    selector.is_ok_and(|selector| selector.matches(pod.meta().labels().unwrap_or(&empty)))
}

fn pod_changed(change: &Change<'_>, budgets: &Cache, queue: &WorkQueue<Key>) {
    for budget in budgets.list(&change.key.namespace) {
        if [change.before, change.after].into_iter().flatten().any(|pod| selects(budget.value(), pod)) {
            queue.add(budget.key.clone());
        }
    }
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, ClientError> {
        let Some(budget) = self.budgets.get(key) else { return Ok(Outcome::Done) };
        let pods: Vec<Arc<Object>> =
            self.pods.list(&key.namespace).into_iter().filter(|pod| selects(budget.value(), pod)).collect();
        if pods.is_empty() {
            let message = "No matching pods found";
            self.events.record(Reference::to(&budget), EventKind::Normal, "NoPods", message);
        }
        let observed =
            plan::Observed { replicas: self.replicas(&pods), pods, now: (self.client.surroundings().now)() };
        let plan = plan::plan(budget.value(), &observed);
        if let Some(status) = plan.status {
            let mut fresh = budget.value().clone();
            fresh["status"] = status;
            match self.client.update_subresource(&Resource::DISRUPTION_BUDGETS, "status", &fresh).await {
                Err(error) if error.is_conflict() || error.is_not_found() => return Ok(Outcome::Again),
                answer => drop(answer?),
            }
        }
        Ok(plan.look_again.map_or(Outcome::Done, Outcome::After))
    }

    /// How many pods their controllers want together; `None` where one has none that says so.
    fn replicas(&self, pods: &[Arc<Object>]) -> Option<i64> {
        let mut counted: Vec<(String, i64)> = Vec::new();
        for pod in pods {
            let mut owner = self.owner(pod)?;
            // A Deployment stands above its ReplicaSets.
            if let Some(above) = self.owner(&owner) {
                owner = above;
            }
            if !counted.iter().any(|(uid, _)| *uid == owner.uid) {
                counted.push((owner.uid.clone(), int(owner.value(), "/spec/replicas")));
            }
        }
        Some(counted.into_iter().map(|(_, replicas)| replicas).sum())
    }

    fn owner(&self, object: &Object) -> Option<Arc<Object>> {
        let owner = object.meta().controller()?;
        let cache = self.scales.iter().find(|cache| cache.resource().kind == owner.kind)?;
        cache.get(&Key::new(object.key.namespace.clone(), owner.name)).filter(|found| found.uid == owner.uid)
    }
}

//! ServiceCIDRs: ranges of cluster addresses. Each is kept while addresses depend on it, and says whether it gives any.
//!
//! Reference: upstream's pkg/controller/servicecidrs, KEP-1880.

mod plan;

use std::sync::Arc;

use client::{Cache, Client, ClientError, Key, Object, Outcome, Patch, Resource, WorkQueue, work};
use serde_json::json;

use crate::context::Context;
use plan::{FINALIZER, Step};

const NAME: &str = "service-cidrs-controller";
pub(crate) const RANGES: Resource =
    Resource::fixed("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", false);
pub(crate) const ADDRESSES: Resource =
    Resource::fixed("networking.k8s.io", "v1", "ipaddresses", "IPAddress", false);

struct Controller {
    client: Client,
    ranges: Cache,
    addresses: Cache,
}

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let controller = Arc::new(Controller {
        client: context.client_of(NAME)?,
        ranges: context.caches.of(&RANGES),
        addresses: context.caches.of(&ADDRESSES),
    });
    controller.ranges.synced().await;
    controller.addresses.synced().await;
    let queue = WorkQueue::new();
    let (adding, ranges) = (queue.clone(), controller.ranges.clone());
    controller.ranges.subscribe(move |change| {
        adding.add(change.key.clone());
        // One that waits for its end may be within this one.
        ranges
            .list("")
            .iter()
            .filter(|range| plan::goes(range))
            .for_each(|range| adding.add(range.key.clone()));
    });
    let (adding, ranges) = (queue.clone(), controller.ranges.clone());
    controller.addresses.subscribe(move |change| {
        if change.after.is_none() {
            let waiting = ranges.list("").into_iter().filter(|range| plan::goes(range));
            waiting.for_each(|range| adding.add(range.key.clone()));
        }
    });
    work(NAME, queue, 1, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
    Ok(())
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, ClientError> {
        let Some(range) = self.ranges.get(key) else { return Ok(Outcome::Done) };
        let now = (self.client.surroundings().now)();
        let plan = plan::plan(&range, &self.ranges.list(""), &self.addresses.list(""), now);
        for step in &plan.steps {
            match self.execute(&range, step).await {
                Err(error) if error.is_not_found() => return Ok(Outcome::Done),
                Err(error) if error.is_conflict() => return Ok(Outcome::Again),
                done => done?,
            }
        }
        Ok(plan.look_again.map_or(Outcome::Done, Outcome::After))
    }

    async fn execute(&self, range: &Object, step: &Step) -> Result<(), ClientError> {
        let (client, name) = (&self.client, &range.key.name);
        match step {
            Step::Protect => {
                let patch = json!({"metadata": {"finalizers": [FINALIZER]}});
                client.patch(&RANGES, "", name, Patch::Strategic, &patch).await?;
            }
            Step::Release => {
                // Decided on this state of it only.
                let version = &range.value()["metadata"]["resourceVersion"];
                let patch = json!({"metadata": {"resourceVersion": version,
                    "$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
                client.patch(&RANGES, "", name, Patch::Strategic, &patch).await?;
            }
            Step::Say(condition) => {
                let patch = json!({"status": {"conditions": [condition]}});
                client.patch_subresource(&RANGES, "", name, "status", Patch::Strategic, &patch).await?;
            }
        }
        Ok(())
    }
}

//! Nodes: who does not renew its Lease is Unknown, and conditions become taints.
//!
//! Not the eviction of pods that do not tolerate a NoExecute taint.
//!
//! A Lease is judged by when this process saw it change, not by the time in it: clocks differ.
//!
//! Reference: upstream's pkg/controller/nodelifecycle; grace periods are its `--node-monitor-grace-period` and
//! `--node-startup-grace-period`.

mod plan;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::{
    Cache, Client, ClientError, EventKind, EventRecorder, Key, Outcome, Patch, Reference, Resource,
    WorkQueue, work,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::context::{Context, PodsByNode};
use crate::fields::text;
use crate::pod;
use plan::Step;

const NAME: &str = "node-controller";
const WORKERS: usize = 4;
/// Namespace of the nodes' Leases.
const LEASES: &str = "kube-node-lease";
/// How long a node may be silent; longer where it never said anything.
const GRACE: Duration = Duration::from_secs(50);
const STARTUP_GRACE: Duration = Duration::from_secs(60);

struct Controller {
    client: Client,
    events: EventRecorder,
    nodes: Cache,
    leases: Cache,
    pods: Cache,
    pods_by_node: PodsByNode,
    /// What a node's sign of life looked like, and since when it looks so.
    signs: Mutex<HashMap<String, (String, Instant)>>,
}

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let client = context.client_of(NAME)?;
    let controller = Arc::new(Controller {
        events: EventRecorder::start(client.clone(), NAME, ""),
        client,
        nodes: context.caches.of(&Resource::NODES),
        leases: context.caches.of(&Resource::LEASES),
        pods: context.caches.of(&Resource::PODS),
        pods_by_node: context.pods_by_node(),
        signs: Mutex::default(),
    });
    for cache in [&controller.nodes, &controller.leases, &controller.pods] {
        cache.synced().await;
    }
    let queue = WorkQueue::new();
    let adding = queue.clone();
    controller.nodes.subscribe(move |change| adding.add(change.key.clone()));
    let adding = queue.clone();
    controller.leases.subscribe(move |change| {
        if change.key.namespace == LEASES {
            adding.add(Key::new("", change.key.name.clone()));
        }
    });
    work(NAME, queue, WORKERS, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
    Ok(())
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, ClientError> {
        let Some(node) = self.nodes.get(key) else {
            self.signs.lock().unwrap_or_else(PoisonError::into_inner).remove(&key.name);
            return Ok(Outcome::Done);
        };
        let silent_for = self.silent_for(&key.name, node.value());
        let grace = if plan::has_status(node.value()) { GRACE } else { STARTUP_GRACE };
        let now = (self.client.surroundings().now)();
        for step in plan::plan(node.value(), silent_for >= grace, now) {
            let told = matches!(step, Step::Unknown(_));
            match self.execute(key, node.value(), step).await {
                Err(error) if error.is_conflict() || error.is_not_found() => return Ok(Outcome::Again),
                done => done?,
            }
            if told {
                let message = format!("Node {} status is now: NodeNotReady", key.name);
                self.events.record(Reference::to(&node), EventKind::Normal, "NodeNotReady", message);
                // The taints follow from what was just written, as the watch tells it.
                return Ok(Outcome::Done);
            }
        }
        // A Lease that is renewed brings the key back earlier.
        Ok(grace.checked_sub(silent_for).map_or(Outcome::Done, Outcome::After))
    }

    /// For how long Lease and status have looked as they do.
    fn silent_for(&self, name: &str, node: &Value) -> Duration {
        let lease = self.leases.get(&Key::new(LEASES, name));
        let renewed = lease.as_ref().map_or("", |lease| text(lease.value(), "/spec/renewTime"));
        let sign = format!("{renewed} {}", plan::heartbeat(node));
        let mut signs = self.signs.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, since) = signs.entry(name.to_owned()).or_insert_with(|| (sign.clone(), Instant::now()));
        if *known != sign {
            (*known, *since) = (sign, Instant::now());
        }
        since.elapsed()
    }

    async fn execute(&self, key: &Key, node: &Value, step: Step) -> Result<(), ClientError> {
        let (nodes, version) = (&Resource::NODES, text(node, "/metadata/resourceVersion"));
        match step {
            Step::Unknown(conditions) => {
                let patch =
                    json!({"metadata": {"resourceVersion": version}, "status": {"conditions": conditions}});
                self.client
                    .patch_subresource(nodes, "", &key.name, "status", Patch::Strategic, &patch)
                    .await?;
                self.pods_not_ready(&key.name).await
            }
            Step::Taint(taints) => {
                let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}});
                self.client.patch(nodes, "", &key.name, Patch::Merge, &patch).await.map(drop)
            }
        }
    }

    /// The pods of a node that is silent get no traffic.
    async fn pods_not_ready(&self, node: &str) -> Result<(), ClientError> {
        let now = api::time::format_seconds((self.client.surroundings().now)());
        let patch = json!({"status": {"conditions": [
            {"type": "Ready", "status": "False", "lastTransitionTime": now}]}});
        for key in self.pods_by_node.of(node) {
            let Some(pod) = self.pods.get(&key).filter(|pod| pod::is_ready(pod.value())) else { continue };
            let (namespace, name) = (&pod.key.namespace, &pod.key.name);
            let pods = &Resource::PODS;
            match self
                .client
                .patch_subresource(pods, namespace, name, "status", Patch::Strategic, &patch)
                .await
            {
                Err(error) if error.is_not_found() => {}
                answer => drop(answer?),
            }
        }
        Ok(())
    }
}

//! Pods that nobody will ever end: those of nodes that are gone, and deleted ones that never had a node.
//!
//! Reference: upstream's pkg/controller/podgc (orphaned and unscheduled terminating pods).

use std::sync::Arc;
use std::time::Duration;

use client::{Cache, Client, ClientError, Key, Outcome, Patch, Resource, WorkQueue, work};
use serde_json::{Value, json};

use crate::context::Context;
use crate::fields::{is_deleting, text};
use crate::pod;

const NAME: &str = "pod-garbage-collector";
/// A node that is missing may be one that comes back; its pods wait this long.
const QUARANTINE: Duration = Duration::from_secs(40);

struct Controller {
    client: Client,
    pods: Cache,
    nodes: Cache,
}

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let controller = Arc::new(Controller {
        client: context.client_of(NAME)?,
        pods: context.caches.of(&Resource::PODS),
        nodes: context.caches.of(&Resource::NODES),
    });
    controller.pods.synced().await;
    controller.nodes.synced().await;
    let (queue, pods_by_node) = (WorkQueue::new(), context.pods_by_node());
    let (adding, nodes) = (queue.clone(), controller.nodes.clone());
    controller.pods.subscribe(move |change| {
        let Some(pod) = change.after else { return };
        let node = text(pod.value(), "/spec/nodeName");
        if node.is_empty() && is_deleting(pod.value()) {
            adding.add(change.key.clone());
        } else if !node.is_empty() && nodes.get(&Key::new("", node)).is_none() {
            adding.add_after(change.key.clone(), QUARANTINE);
        }
    });
    let adding = queue.clone();
    controller.nodes.subscribe(move |change| {
        if change.after.is_none() {
            let stranded = pods_by_node.of(&change.key.name).into_iter();
            stranded.for_each(|pod| adding.add_after(pod, QUARANTINE));
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
        let Some(pod) = self.pods.get(key) else { return Ok(Outcome::Done) };
        let node = text(pod.value(), "/spec/nodeName");
        if node.is_empty() {
            if is_deleting(pod.value()) {
                self.remove(key, &pod.uid).await?;
            }
            return Ok(Outcome::Done);
        }
        let missing = self.nodes.get(&Key::new("", node)).is_none()
            && self.client.get(&Resource::NODES, "", node).await.is_err_and(|error| error.is_not_found());
        if missing {
            if !pod::is_over(pod.value()) {
                self.fail(pod.value()).await?;
            }
            self.remove(key, &pod.uid).await?;
        }
        Ok(Outcome::Done)
    }

    /// Says in the status why the pod ends.
    async fn fail(&self, pod: &Value) -> Result<(), ClientError> {
        let now = api::time::format_seconds((self.client.surroundings().now)());
        let patch = json!({"status": {"phase": "Failed", "conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists", "lastTransitionTime": now}]}});
        let (namespace, name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
        let pods = &Resource::PODS;
        match self.client.patch_subresource(pods, namespace, name, "status", Patch::Strategic, &patch).await {
            Err(error) if error.is_not_found() => Ok(()),
            answer => answer.map(drop),
        }
    }

    async fn remove(&self, key: &Key, uid: &str) -> Result<(), ClientError> {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
            "preconditions": {"uid": uid}});
        match self.client.delete_with(&Resource::PODS, &key.namespace, &key.name, &options).await {
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            answer => answer.map(drop),
        }
    }
}

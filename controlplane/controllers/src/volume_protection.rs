//! Volumes and claims in use stay: their finalizers go when nobody uses them any more.
//!
//! Admission puts the finalizers there.
//!
//! Reference: upstream's pkg/controller/volume/pvcprotection and pvprotection.

use std::sync::Arc;

use client::{Cache, Client, ClientError, Key, Object, Outcome, Resource, WorkQueue, work};
use serde_json::Value;

use crate::context::Context;
use crate::fields::{is_deleting, list, text};
use crate::pod;

const CLAIMS: &str = "pvc-protection-controller";
const VOLUMES: &str = "pv-protection-controller";
const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";

/// Claims.
pub(crate) async fn claims(context: Arc<Context>) -> Result<(), ClientError> {
    let client = context.client_of(CLAIMS)?;
    let claims = context.caches.of(&Resource::VOLUME_CLAIMS);
    let pods = context.caches.of(&Resource::PODS);
    claims.synced().await;
    pods.synced().await;
    let queue = WorkQueue::new();
    let adding = queue.clone();
    claims.subscribe(move |change| {
        if change.after.is_some_and(|claim| is_deleting(claim.value())) {
            adding.add(change.key.clone());
        }
    });
    let adding = queue.clone();
    pods.subscribe(move |change| {
        let over = change.after.is_none_or(|pod| pod::is_over(pod.value()));
        if let Some(pod) = change.object().filter(|_| over) {
            pod::claims(pod.value()).for_each(|name| adding.add(Key::new(pod.key.namespace.clone(), name)));
        }
    });
    work(CLAIMS, queue, 1, move |key: Key| {
        let (client, claims, pods) = (client.clone(), claims.clone(), pods.clone());
        async move {
            let used = |claim: &Object| {
                pods.list(&claim.key.namespace).iter().any(|pod| uses(pod.value(), &claim.key.name))
            };
            if claims.get(&key).is_none_or(|claim| !is_deleting(claim.value()) || used(&claim)) {
                return Ok(Outcome::Done);
            }
            // The cache may not have heard yet of a pod that was there before the claim was to go.
            let now = client.list(&Resource::PODS, &key.namespace, &[]).await?;
            let used = |claim: &Object| list(&now, "/items").iter().any(|pod| uses(pod, &claim.key.name));
            unprotect(&client, &claims, &key, CLAIM_FINALIZER, used).await
        }
    })
    .await;
    Ok(())
}

/// Volumes.
pub(crate) async fn volumes(context: Arc<Context>) -> Result<(), ClientError> {
    let client = context.client_of(VOLUMES)?;
    let volumes = context.caches.of(&Resource::VOLUMES);
    volumes.synced().await;
    let queue = WorkQueue::new();
    let adding = queue.clone();
    volumes.subscribe(move |change| {
        if change.after.is_some_and(|volume| is_deleting(volume.value())) {
            adding.add(change.key.clone());
        }
    });
    work(VOLUMES, queue, 1, move |key: Key| {
        let (client, volumes) = (client.clone(), volumes.clone());
        async move {
            let used = |volume: &Object| text(volume.value(), "/status/phase") == "Bound";
            unprotect(&client, &volumes, &key, VOLUME_FINALIZER, used).await
        }
    })
    .await;
    Ok(())
}

/// A pod uses its claims from when it has a node until it is over.
fn uses(pod: &Value, claim: &str) -> bool {
    !pod::is_over(pod)
        && !text(pod, "/spec/nodeName").is_empty()
        && pod::claims(pod).any(|name| name == claim)
}

async fn unprotect(
    client: &Client,
    cache: &Cache,
    key: &Key,
    finalizer: &str,
    used: impl Fn(&Object) -> bool,
) -> Result<Outcome, ClientError> {
    let Some(object) = cache.get(key).filter(|object| is_deleting(object.value()) && !used(object)) else {
        return Ok(Outcome::Done);
    };
    let mut fresh = object.value().clone();
    let Some(finalizers) = fresh["metadata"]["finalizers"].as_array_mut() else { return Ok(Outcome::Done) };
    let before = finalizers.len();
    finalizers.retain(|known| known != finalizer);
    if finalizers.len() == before {
        return Ok(Outcome::Done);
    }
    match client.update(cache.resource(), &fresh).await {
        Err(error) if error.is_not_found() => Ok(Outcome::Done),
        Err(error) if error.is_conflict() => Ok(Outcome::Again),
        answer => answer.map(|_| Outcome::Done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_uses_a_claim() {
        let pod = |node: &str, phase: &str| {
            json!({"spec": {"nodeName": node, "volumes": [{"persistentVolumeClaim": {"claimName": "c"}}]},
                "status": {"phase": phase}})
        };
        assert!(uses(&pod("n", "Running"), "c"));
        assert!(!uses(&pod("n", "Running"), "d"));
        assert!(!uses(&pod("n", "Succeeded"), "c"));
        assert!(!uses(&pod("", "Pending"), "c"));
    }
}

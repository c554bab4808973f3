//! Persistent volumes that an administrator made are bound to claims that they fit.
//!
//! ```text
//!   claim Pending ─► the volume names the claim ─► the claim names the volume ─► both are Bound
//! ```
//!
//! A claim whose class waits for its first consumer gets the volume that the scheduler gave it.
//!
//! Each arrow is one write of one object, so the way can be gone on from wherever somebody died. Not provisioning: a
//! claim of a class with a provisioner waits for its driver. Not deletion of what a volume holds: a released volume
//! whose policy is `Delete` is its driver's.
//!
//! Reference: upstream's pkg/controller/volume/persistentvolume.

mod found;
mod plan;

use std::sync::Arc;

use client::{
    Cache, Client, ClientError, EventKind, EventRecorder, Key, Object, Outcome, Reference, Resource,
    WorkQueue, work,
};
use serde_json::Value;

use crate::context::Context;
use crate::fields::text;
use crate::pod;
use found::Found;
use plan::Step;

const NAME: &str = "persistent-volume-binder";
const CLASSES: Resource = Resource::fixed("storage.k8s.io", "v1", "storageclasses", "StorageClass", false);

struct Controller {
    client: Client,
    events: EventRecorder,
    found: Found,
    volumes: Cache,
    claims: Cache,
    classes: Cache,
    pods: Cache,
}

/// Claims are keys with a namespace, volumes such without one; one worker, because volumes are shared.
pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let client = context.client_of(NAME)?;
    let volumes = context.caches.of(&Resource::VOLUMES);
    let claims = context.caches.of(&Resource::VOLUME_CLAIMS);
    let controller = Arc::new(Controller {
        events: EventRecorder::start(client.clone(), "persistentvolume-controller", ""),
        client,
        found: Found::follow(&volumes, &claims),
        volumes,
        claims,
        classes: context.caches.of(&CLASSES),
        pods: context.caches.of(&Resource::PODS),
    });
    for cache in [&controller.volumes, &controller.claims, &controller.classes, &controller.pods] {
        cache.synced().await;
    }
    let queue = WorkQueue::new();
    let (adding, found) = (queue.clone(), controller.found.clone());
    controller.claims.subscribe(move |change| {
        adding.add(change.key.clone());
        found.volumes_for(change.key).into_iter().for_each(|volume| adding.add(volume));
    });
    let (adding, found) = (queue.clone(), controller.found.clone());
    controller.volumes.subscribe(move |change| {
        adding.add(change.key.clone());
        found.claims_concerned(&change).into_iter().for_each(|claim| adding.add(claim));
    });
    let (adding, found) = (queue.clone(), controller.found.clone());
    controller.classes.subscribe(move |change| {
        found.claims_without(&change.key.name).into_iter().for_each(|claim| adding.add(claim));
    });
    let adding = queue.clone();
    controller.pods.subscribe(move |change| {
        // A claim whose class waits for its first consumer says for whom.
        if change.before.is_none()
            && let Some(pod) = change.after
        {
            pod::claims(pod.value()).for_each(|claim| adding.add(Key::new(pod.key.namespace.clone(), claim)));
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
        let steps = if key.namespace.is_empty() {
            let Some(volume) = self.volumes.get(key) else { return Ok(Outcome::Done) };
            let claim = plan::claim_of(volume.value()).and_then(|key| self.claims.get(&key));
            plan::volume(volume.value(), claim.as_ref().map(|claim| claim.value()))
        } else {
            let Some(claim) = self.claims.get(key) else { return Ok(Outcome::Done) };
            let class = self.classes.get(&Key::new("", text(claim.value(), "/spec/storageClassName")));
            let candidates = self.found.candidates(claim.value()).into_iter();
            let volumes: Vec<_> = candidates.filter_map(|key| self.volumes.get(&key)).collect();
            // Asked only where the class waits for them.
            let waiting = || {
                let pods = self.pods.list(&key.namespace).into_iter();
                let waits = |pod: &Arc<Object>| {
                    text(pod.value(), "/spec/nodeName").is_empty()
                        && pod::claims(pod.value()).any(|claim| claim == key.name)
                };
                pods.filter(waits).map(|pod| pod.key.name.clone()).collect()
            };
            plan::claim(claim.value(), &volumes, class.as_ref().map(|class| class.value()), &waiting)
        };
        for step in steps {
            match self.execute(step).await {
                Err(error) if error.is_conflict() || error.is_not_found() => return Ok(Outcome::Again),
                done => done?,
            }
        }
        Ok(Outcome::Done)
    }

    async fn execute(&self, step: Step) -> Result<(), ClientError> {
        let (client, volumes, claims) = (&self.client, &Resource::VOLUMES, &Resource::VOLUME_CLAIMS);
        match step {
            Step::Volume(volume) => client.update(volumes, &volume).await.map(drop),
            Step::VolumeStatus(volume) => {
                client.update_subresource(volumes, "status", &volume).await.map(drop)
            }
            Step::Claim(claim) => client.update(claims, &claim).await.map(drop),
            Step::ClaimStatus(claim) => client.update_subresource(claims, "status", &claim).await.map(drop),
            Step::Tell { claim, warning, reason, message } => {
                let kind = if warning { EventKind::Warning } else { EventKind::Normal };
                self.events.record(Reference::of(claims, &claim), kind, reason, message);
                Ok(())
            }
        }
    }
}

/// For the plan: the name of a class, empty where there is none.
fn class_of(object: &Value) -> &str {
    let old = object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].as_str();
    old.unwrap_or_else(|| text(object, "/spec/storageClassName"))
}

//! Generic ephemeral volumes: each gets a claim of its own, which belongs to the pod and goes with it.
//!
//! Not its deletion (the garbage collector's), nor its volume (the binder's and a driver's).
//!
//! Reference: KEP-1698; upstream's pkg/controller/volume/ephemeral.

use std::sync::Arc;

use client::{
    Cache, Client, ClientError, EventKind, EventRecorder, Key, Outcome, Reference, Resource, WorkQueue, work,
};
use serde_json::{Value, json};

use crate::context::Context;
use crate::fields::{controller_reference, is_deleting, list, text};
use crate::pod;

const NAME: &str = "ephemeral-volume-controller";

/// What is to be done for one volume.
#[derive(Debug, PartialEq)]
enum Step {
    Create(Value),
    /// A claim of that name is somebody else's.
    Tell(String),
}

struct Controller {
    client: Client,
    events: EventRecorder,
    pods: Cache,
    claims: Cache,
}

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let client = context.client_of(NAME)?;
    let controller = Arc::new(Controller {
        events: EventRecorder::start(client.clone(), "ephemeral_volume", ""),
        client,
        pods: context.caches.of(&Resource::PODS),
        claims: context.caches.of(&Resource::VOLUME_CLAIMS),
    });
    controller.pods.synced().await;
    controller.claims.synced().await;
    let queue = WorkQueue::new();
    let adding = queue.clone();
    controller.pods.subscribe(move |change| {
        if change.after.is_some_and(|pod| volumes(pod.value()).next().is_some()) {
            adding.add(change.key.clone());
        }
    });
    let adding = queue.clone();
    controller.claims.subscribe(move |change| {
        // One that was deleted is made again.
        if let (Some(claim), None) = (change.before, change.after) {
            let owners = list(claim.value(), "/metadata/ownerReferences").iter();
            let pods = owners.filter(|owner| owner["kind"] == "Pod" && owner["controller"] == true);
            pods.for_each(|owner| adding.add(Key::new(claim.key.namespace.clone(), text(owner, "/name"))));
        }
    });
    work(NAME, queue, 1, move |key: Key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
    Ok(())
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, ClientError> {
        let Some(pod) = self.pods.get(key) else { return Ok(Outcome::Done) };
        let claim = |name: &str| self.claims.get(&Key::new(key.namespace.as_str(), name));
        let steps = plan(pod.value(), &|name| claim(name).map(|claim| claim.value().clone()));
        for step in steps {
            match step {
                Step::Create(claim) => {
                    match self.client.create(&Resource::VOLUME_CLAIMS, &key.namespace, &claim).await {
                        // The cache will tell whose it is.
                        Err(error) if error.already_exists() => return Ok(Outcome::Again),
                        made => drop(made?),
                    }
                }
                Step::Tell(message) => {
                    let pod = Reference::of(&Resource::PODS, pod.value());
                    self.events.record(pod, EventKind::Warning, "FailedBinding", message);
                }
            }
        }
        Ok(Outcome::Done)
    }
}

/// The ephemeral volumes of a pod.
fn volumes(pod: &Value) -> impl Iterator<Item = &Value> {
    list(pod, "/spec/volumes").iter().filter(|volume| volume["ephemeral"].is_object())
}

/// Claims that are missing. A pod that is over or on its way out needs none.
fn plan(pod: &Value, claim: &dyn Fn(&str) -> Option<Value>) -> Vec<Step> {
    if is_deleting(pod) || pod::is_over(pod) {
        return Vec::new();
    }
    let step = |volume: &Value| {
        let (namespace, owner) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
        let name = format!("{owner}-{}", text(volume, "/name"));
        match claim(&name) {
            None => Some(Step::Create(claim_for(pod, volume, &name))),
            Some(claim) => {
                let mut owners = list(&claim, "/metadata/ownerReferences").iter();
                let is_own = owners.any(|owner| owner["uid"] == pod["metadata"]["uid"]);
                (!is_own).then(|| {
                    Step::Tell(format!(
                        "ephemeral volume {}: PVC {namespace}/{name} was not created for pod {namespace}/{owner} (pod is not owner)",
                        text(volume, "/name")
                    ))
                })
            }
        }
    };
    volumes(pod).filter_map(step).collect()
}

fn claim_for(pod: &Value, volume: &Value, name: &str) -> Value {
    let template = &volume["ephemeral"]["volumeClaimTemplate"];
    let mut meta = json!({"name": name, "namespace": pod["metadata"]["namespace"],
        "ownerReferences": [controller_reference(&Resource::PODS, pod)]});
    for field in ["labels", "annotations"] {
        if template["metadata"][field].is_object() {
            meta[field] = template["metadata"][field].clone();
        }
    }
    json!({"metadata": meta, "spec": template["spec"]})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(phase: &str) -> Value {
        let template =
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}});
        json!({"metadata": {"name": "p", "namespace": "n", "uid": "P"}, "status": {"phase": phase}, "spec": {"volumes": [
            {"name": "v", "ephemeral": {"volumeClaimTemplate": template}}, {"name": "e", "emptyDir": {}}]}})
    }

    #[test]
    fn each_volume_has_a_claim() {
        let steps = plan(&pod("Pending"), &|_| None);
        let [Step::Create(claim)] = steps.as_slice() else { panic!("{steps:?}") };
        let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "P", "controller": true, "blockOwnerDeletion": true}]);
        let meta = json!({"name": "p-v", "namespace": "n", "ownerReferences": owner, "labels": {"a": "b"}});
        assert_eq!(*claim, json!({"metadata": meta, "spec": {"accessModes": ["ReadWriteOnce"]}}));
        assert_eq!(plan(&pod("Pending"), &|_| Some(claim.clone())), []);
        assert_eq!(plan(&pod("Failed"), &|_| None), []);
        let foreign = plan(&pod("Pending"), &|_| Some(json!({"metadata": {"name": "p-v"}})));
        let why = "ephemeral volume v: PVC n/p-v was not created for pod n/p (pod is not owner)";
        assert_eq!(foreign, [Step::Tell(why.to_owned())]);
    }
}

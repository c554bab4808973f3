//! Does the steps of a plan. A stale plan is refused by the resourceVersion that it carries.

use api::meta::Meta;
use client::{ClientError, EventKind, Object, Propagation, Reference, Resource};
use serde_json::{Value, json};

use super::plan::Step;
use super::{Controller, revision, template};
use crate::fields::{int, text};

pub(super) async fn execute(
    controller: &Controller,
    deployment: &Object,
    steps: Vec<Step>,
) -> Result<(), ClientError> {
    // What the server answered last: the next write of the Deployment builds on it.
    let mut known = deployment.value().clone();
    for step in steps {
        match step {
            Step::Create { set, replicas } => {
                create(controller, deployment, &mut known, &set, replicas).await?
            }
            Step::Update { set, scaled } => {
                controller.client.update(&Resource::REPLICA_SETS, &set).await?;
                if let Some((from, to)) = scaled {
                    tell(controller, deployment, text(&set, "/metadata/name"), from, to);
                }
            }
            Step::Delete { name, uid } => {
                let namespace = &deployment.key.namespace;
                let propagation = Some(Propagation::Background);
                let sets = &Resource::REPLICA_SETS;
                match controller.client.delete(sets, namespace, &name, Some(&uid), propagation).await {
                    Err(error) if error.is_not_found() => {}
                    answer => drop(answer?),
                }
            }
            Step::Revision(revision) => {
                if !known["metadata"]["annotations"].is_object() {
                    known["metadata"]["annotations"] = json!({});
                }
                known["metadata"]["annotations"][revision::REVISION] = revision.into();
                known = controller.client.update(&Resource::DEPLOYMENTS, &known).await?;
            }
            Step::Status(status) => {
                known["status"] = status;
                known =
                    controller.client.update_subresource(&Resource::DEPLOYMENTS, "status", &known).await?;
            }
        }
    }
    Ok(())
}

/// Creates the current template's set. One of that name may be there already: ours, which the cache does not
/// show yet, or another template's with the same hash, and then the next try takes another hash.
async fn create(
    controller: &Controller,
    deployment: &Object,
    known: &mut Value,
    set: &Value,
    replicas: i64,
) -> Result<(), ClientError> {
    let name = text(set, "/metadata/name");
    let namespace = &deployment.key.namespace;
    match controller.client.create(&Resource::REPLICA_SETS, namespace, set).await {
        Ok(_) => {
            if replicas > 0 {
                tell(controller, deployment, name, 0, replicas);
            }
            Ok(())
        }
        Err(error) if error.already_exists() => {
            let there = controller.client.get(&Resource::REPLICA_SETS, namespace, name).await?;
            let ours = Meta::of(&there).controller().is_some_and(|owner| owner.uid == deployment.uid);
            if ours && template::is_current(deployment.value(), &there) {
                return Ok(());
            }
            known["status"]["collisionCount"] = (int(known, "/status/collisionCount") + 1).into();
            *known = controller.client.update_subresource(&Resource::DEPLOYMENTS, "status", known).await?;
            Err(error)
        }
        Err(error) => {
            if !error.namespace_is_terminating() {
                let message = format!("Failed to create new replica set {name:?}: {error}");
                controller.events.record(
                    Reference::to(deployment),
                    EventKind::Warning,
                    "ReplicaSetCreateError",
                    message,
                );
            }
            Err(error)
        }
    }
}

fn tell(controller: &Controller, deployment: &Object, set: &str, from: i64, to: i64) {
    let direction = if to > from { "up" } else { "down" };
    let message = format!("Scaled {direction} replica set {set} from {from} to {to}");
    controller.events.record(Reference::to(deployment), EventKind::Normal, "ScalingReplicaSet", message);
}

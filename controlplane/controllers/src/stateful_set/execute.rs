//! Does the steps of a plan: claims before their pod, pods one by one.

use std::sync::Arc;

use api::meta::Meta;
use client::{ClientError, EventKind, Key, Object, Reference, Resource};
use serde_json::Value;

use super::plan::Step;
use super::{Controller, pod_of};
use crate::history::History;

pub(super) async fn execute(
    controller: &Controller,
    set: &Arc<Object>,
    history: &History,
    steps: &[Step],
) -> Result<(), ClientError> {
    for step in steps {
        match step {
            Step::Own { claim, owners } => own(controller, claim, owners).await?,
            Step::Create { ordinal, revision } => {
                create(controller, set, history, *ordinal, revision).await?
            }
            Step::Delete { pod, uid } => delete(controller, set, pod, uid).await?,
            Step::Replace { pod, uid, failed } => {
                let (kind, reason, word) = if *failed {
                    (EventKind::Warning, "RecreatingFailedPod", "failed")
                } else {
                    (EventKind::Normal, "RecreatingTerminatedPod", "terminated")
                };
                let message = format!("StatefulSet {} is recreating {word} Pod {}", set.key, pod.name);
                controller.events.record(Reference::to(set), kind, reason, message);
                delete(controller, set, pod, uid).await?;
            }
        }
    }
    Ok(())
}

/// Tells a claim whose it is.
async fn own(controller: &Controller, claim: &Object, owners: &[Value]) -> Result<(), ClientError> {
    let mut fresh = claim.value().clone();
    fresh["metadata"]["ownerReferences"] = owners.to_vec().into();
    match controller.client.update(&Resource::VOLUME_CLAIMS, &fresh).await {
        Err(error) if error.is_not_found() => Ok(()),
        answer => answer.map(drop),
    }
}

async fn create(
    controller: &Controller,
    set: &Arc<Object>,
    history: &History,
    ordinal: i64,
    revision: &str,
) -> Result<(), ClientError> {
    // The revision that was made a moment ago is the template as it is.
    let template = history.template_of(revision).unwrap_or_else(|| set.value()["spec"]["template"].clone());
    let pod = pod_of::pod(set.value(), &template, revision, ordinal);
    let (namespace, name) = (&set.key.namespace, Meta::of(&pod).name());
    for claim in pod_of::claims(set.value(), ordinal) {
        let claim_name = Meta::of(&claim).name();
        if controller.claims.get(&Key::new(namespace.clone(), claim_name)).is_some() {
            continue;
        }
        let what = format!("Claim {claim_name} Pod {name} in StatefulSet {}", set.key.name);
        match controller.client.create(&Resource::VOLUME_CLAIMS, namespace, &claim).await {
            Err(error) if error.already_exists() => {}
            answer => told(controller, set, "create", &what, "success", answer.map(drop))?,
        }
    }
    let what = format!("Pod {name} in StatefulSet {}", set.key.name);
    let answer = controller.client.create(&Resource::PODS, namespace, &pod).await;
    match answer {
        // Made before, and not in the cache yet; or somebody else's, which goes or stays.
        Err(error) if error.already_exists() => Err(error),
        answer => told(controller, set, "create", &what, "successful", answer.map(drop)),
    }
}

async fn delete(controller: &Controller, set: &Arc<Object>, pod: &Key, uid: &str) -> Result<(), ClientError> {
    let what = format!("Pod {} in StatefulSet {}", pod.name, set.key.name);
    match controller.client.delete(&Resource::PODS, &pod.namespace, &pod.name, Some(uid), None).await {
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        answer => told(controller, set, "delete", &what, "successful", answer.map(drop)),
    }
}

fn told(
    controller: &Controller,
    set: &Object,
    verb: &str,
    what: &str,
    word: &str,
    answer: Result<(), ClientError>,
) -> Result<(), ClientError> {
    let verb_in_reason = if verb == "create" { "Create" } else { "Delete" };
    match &answer {
        Ok(()) => {
            let reason = format!("Successful{verb_in_reason}");
            controller.events.record(
                Reference::to(set),
                EventKind::Normal,
                &reason,
                format!("{verb} {what} {word}"),
            );
        }
        Err(error) if !error.namespace_is_terminating() => {
            let (reason, message) =
                (format!("Failed{verb_in_reason}"), format!("{verb} {what} failed error: {error}"));
            controller.events.record(Reference::to(set), EventKind::Warning, &reason, message);
        }
        Err(_) => {}
    }
    answer
}

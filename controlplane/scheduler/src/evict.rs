//! Takes victims away for a pod that gets their place: each is told why, then deleted with its grace period.
//!
//! Reference: upstream's `preemption.Executor`; KEP-3329 for the condition.

use std::sync::Arc;

use api::time::format_seconds;
use client::{Client, ClientError, EventKind, EventRecorder, Patch, Resource};
use serde_json::json;
use tokio::task::JoinSet;

use crate::node::NodeName;
use crate::pod::Pod;

/// Victims that are taken away at once.
const AT_ONCE: usize = 16;

/// Returns once all are being deleted, or one could not be.
pub async fn evict(
    client: &Client,
    recorder: &EventRecorder,
    preemptor: &Pod,
    node: &NodeName,
    victims: &[Arc<Pod>],
) -> Result<(), ClientError> {
    let message = format!("Preempted by pod {} on node {node}", preemptor.uid);
    let why = format!("{}: preempting to accommodate a higher priority pod", preemptor.scheduler);
    // Who is on the way out already need not be told again.
    let victims: Vec<&Arc<Pod>> = victims.iter().filter(|victim| !victim.terminating).collect();
    for some in victims.chunks(AT_ONCE) {
        let mut steps = JoinSet::new();
        for victim in some.iter().map(|victim| (*victim).clone()) {
            let (client, why) = (client.clone(), why.clone());
            steps.spawn(
                async move { evict_one(&client, &victim, &why).await.map(|gone| gone.then_some(victim)) },
            );
        }
        let mut failure = None;
        while let Some(ended) = steps.join_next().await {
            match ended {
                Ok(Ok(Some(victim))) => {
                    tracing::info!(pod = %victim.key, node = %node, preemptor = %preemptor.key, "preempted");
                    recorder.record(victim.reference(), EventKind::Normal, "Preempted", message.as_str());
                }
                Ok(Ok(None)) => {}
                Ok(Err(error)) => failure = Some(error),
                Err(error) => tracing::error!(%error, "an eviction has failed"),
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
    }
    Ok(())
}

/// Whether it was still there.
async fn evict_one(client: &Client, victim: &Pod, why: &str) -> Result<bool, ClientError> {
    let (namespace, name, uid) = (&victim.key.namespace, &victim.key.name, victim.uid.as_str());
    let mut condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": why,
        "lastProbeTime": null, "lastTransitionTime": format_seconds((client.surroundings().now)()),
    });
    if victim.generation > 0 {
        condition["observedGeneration"] = victim.generation.into();
    }
    // The UID keeps both off a new pod of the same name.
    let patch = json!({"metadata": {"uid": uid}, "status": {"conditions": [condition]}});
    let told =
        client.patch_subresource(&Resource::PODS, namespace, name, "status", Patch::Strategic, &patch).await;
    let deleted = match told {
        Ok(_) => client.delete(&Resource::PODS, namespace, name, Some(uid), None).await,
        Err(error) => Err(error),
    };
    match deleted {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

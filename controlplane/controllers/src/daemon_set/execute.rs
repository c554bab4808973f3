//! Does the steps of a plan.

use std::sync::Arc;

use api::meta::Meta;
use client::{ClientError, EventKind, Key, Object, Reference, Resource};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Controller;
use super::plan::{Step, tolerations};
use crate::history;
use crate::pod_template::{self, Name, mark};

pub(super) async fn execute(
    controller: &Controller,
    set: &Arc<Object>,
    hash: &str,
    steps: &[Step],
) -> Result<(), ClientError> {
    for step in steps {
        match step {
            Step::Create(nodes) => create(controller, set, hash, nodes).await?,
            Step::Delete(pods) => delete(controller, set, pods).await?,
            Step::Replace { pod, uid, node } => {
                let message = format!("Found failed daemon pod {pod} on node {node}, will try to kill it");
                controller.events.record(Reference::to(set), EventKind::Warning, "FailedDaemonPod", message);
                delete(controller, set, &[(pod.clone(), uid.clone())]).await?;
            }
        }
    }
    Ok(())
}

async fn create(
    controller: &Controller,
    set: &Arc<Object>,
    hash: &str,
    nodes: &[String],
) -> Result<(), ClientError> {
    controller.expectations.creating(&set.key, nodes.len());
    let mut tasks = JoinSet::new();
    for node in nodes {
        let pod = pod_of(set.value(), hash, node);
        let (client, namespace) = (controller.client.clone(), set.key.namespace.clone());
        tasks.spawn(async move { client.create(&Resource::PODS, &namespace, &pod).await });
    }
    let mut failed = None;
    while let Some(ended) = tasks.join_next().await {
        let Ok(answer) = ended else { continue };
        match answer {
            Ok(pod) => {
                let message = format!("Created pod: {}", Meta::of(&pod).name());
                controller.events.record(Reference::to(set), EventKind::Normal, "SuccessfulCreate", message);
            }
            Err(error) => {
                controller.expectations.created(&set.key);
                if !error.namespace_is_terminating() {
                    let message = format!("Error creating: {error}");
                    controller.events.record(Reference::to(set), EventKind::Warning, "FailedCreate", message);
                }
                failed = Some(error);
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn delete(
    controller: &Controller,
    set: &Arc<Object>,
    pods: &[(Key, String)],
) -> Result<(), ClientError> {
    for (pod, uid) in pods {
        controller.expectations.deleting(&set.key, uid);
        match controller.client.delete(&Resource::PODS, &pod.namespace, &pod.name, Some(uid), None).await {
            Ok(_) => {
                let message = format!("Deleted pod: {}", pod.name);
                controller.events.record(Reference::to(set), EventKind::Normal, "SuccessfulDelete", message);
            }
            Err(error) => {
                controller.expectations.deleted(&set.key, uid);
                if !error.is_not_found() && !error.is_conflict() {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// The pod of a node.
fn pod_of(set: &Value, hash: &str, node: &str) -> Value {
    const GENERATION: &str = "deprecated.daemonset.template.generation";
    let name = Name::Generated(format!("{}-", Meta::of(set).name()));
    let mut pod = pod_template::pod(&Resource::DAEMON_SETS, set, name);
    mark(&mut pod, "labels", history::POD_LABEL, hash);
    if let Some(generation) = set["metadata"]["annotations"][GENERATION].as_str() {
        mark(&mut pod, "labels", "pod-template-generation", generation);
    }
    pod["spec"]["tolerations"] = tolerations(&pod["spec"]).into();
    let field = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    let required =
        &mut pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    match required["nodeSelectorTerms"].as_array_mut().filter(|terms| !terms.is_empty()) {
        // The template's terms are kept, each for this node only.
        Some(terms) => terms.iter_mut().for_each(|term| term["matchFields"] = json!([field])),
        None => required["nodeSelectorTerms"] = json!([{"matchFields": [field]}]),
    }
    pod
}

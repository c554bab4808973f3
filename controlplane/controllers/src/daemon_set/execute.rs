//! Does the steps of a plan.

use std::sync::Arc;

use api::meta::Meta;
use client::{ClientError, EventKind, Object, Resource};
use serde_json::{Value, json};

use super::Controller;
use super::plan::{Step, tolerations};
use crate::history;
use crate::owned_pods::OwnedPods;
use crate::pod_template::{self, Name, mark};

pub(super) async fn execute(
    controller: &Controller,
    set: &Arc<Object>,
    hash: &str,
    steps: &[Step],
) -> Result<(), ClientError> {
    let pods = OwnedPods {
        client: &controller.client,
        events: &controller.events,
        expectations: &controller.expectations,
        owner: set,
    };
    for step in steps {
        match step {
            Step::Create(nodes) => {
                pods.create(nodes.iter().map(|node| pod_of(set.value(), hash, node)).collect()).await?;
            }
            Step::Delete(gone) => pods.delete(gone).await?,
            Step::Replace { pod, uid, node } => {
                let message = format!("Found failed daemon pod {pod} on node {node}, will try to kill it");
                pods.tell(EventKind::Warning, "FailedDaemonPod", message);
                pods.delete(&[(pod.clone(), uid.clone())]).await?;
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

//! UpdatePodSandboxResources: the kubelet has changed the pod's cgroup; here it is noted, as verbose status shows it.

use std::sync::Arc;

use cri_api::v1;

use crate::fault::Outcome;
use crate::node::Node;
use crate::sandbox::Command;

pub async fn call(
    node: &Arc<Node>,
    request: v1::UpdatePodSandboxResourcesRequest,
) -> Outcome<v1::UpdatePodSandboxResourcesResponse> {
    let sandbox = node.sandbox(&request.pod_sandbox_id)?;
    let (overhead, resources) = (request.overhead.map(Box::new), request.resources.map(Box::new));
    sandbox.ask(|reply| Command::Update { overhead, resources, reply }).await?;
    Ok(v1::UpdatePodSandboxResourcesResponse {})
}

//! UpdateContainerResources: new limits for a container, running or not yet.

use std::sync::Arc;

use cri_api::v1;

use crate::container::Command;
use crate::fault::{Fault, Outcome};
use crate::node::Node;

pub async fn call(
    node: &Arc<Node>,
    request: v1::UpdateContainerResourcesRequest,
) -> Outcome<v1::UpdateContainerResourcesResponse> {
    let container = node.container(&request.container_id)?;
    let linux = request
        .linux
        .ok_or_else(|| Fault::invalid("UpdateContainerResources: linux resources are missing"))?;
    container.ask(|reply| Command::Update { resources: Box::new(linux), reply }).await?;
    Ok(v1::UpdateContainerResourcesResponse {})
}

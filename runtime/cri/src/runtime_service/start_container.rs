//! StartContainer: the owner starts it once.

use std::sync::Arc;

use cri_api::v1;

use crate::container::Command;
use crate::fault::Outcome;
use crate::node::Node;

pub async fn call(
    node: &Arc<Node>,
    request: v1::StartContainerRequest,
) -> Outcome<v1::StartContainerResponse> {
    node.container(&request.container_id)?.ask(Command::Start).await?;
    Ok(v1::StartContainerResponse {})
}

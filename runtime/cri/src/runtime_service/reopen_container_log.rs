//! ReopenContainerLog: after the kubelet renamed the log, lines go to a new file.

use std::sync::Arc;

use cri_api::v1;

use crate::container::Command;
use crate::fault::Outcome;
use crate::node::Node;

pub async fn call(
    node: &Arc<Node>,
    request: v1::ReopenContainerLogRequest,
) -> Outcome<v1::ReopenContainerLogResponse> {
    node.container(&request.container_id)?.ask(Command::ReopenLog).await?;
    Ok(v1::ReopenContainerLogResponse {})
}

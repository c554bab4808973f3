//! RemoveContainer: kills it if it runs. One that is not there is removed.

use std::sync::Arc;

use cri_api::v1;

use crate::container::Command;
use crate::fault::{Fault, Outcome};
use crate::node::Node;

pub async fn call(
    node: &Arc<Node>,
    request: v1::RemoveContainerRequest,
) -> Outcome<v1::RemoveContainerResponse> {
    let removed = match node.container(&request.container_id) {
        Ok(container) => container.ask(Command::Remove).await,
        Err(fault) => Err(fault),
    };
    match removed {
        Ok(()) | Err(Fault::NotFound(_)) => Ok(v1::RemoveContainerResponse {}),
        Err(fault) => Err(fault),
    }
}

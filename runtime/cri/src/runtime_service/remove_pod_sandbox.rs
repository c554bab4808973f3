//! RemovePodSandbox: stops it if need be, removes its containers and itself. One that is not there is removed.

use std::sync::Arc;

use cri_api::v1;

use crate::fault::{Fault, Outcome};
use crate::node::Node;
use crate::sandbox::Command;

pub async fn call(
    node: &Arc<Node>,
    request: v1::RemovePodSandboxRequest,
) -> Outcome<v1::RemovePodSandboxResponse> {
    let removed = match node.sandbox(&request.pod_sandbox_id) {
        Ok(sandbox) => sandbox.ask(Command::Remove).await,
        Err(fault) => Err(fault),
    };
    match removed {
        Ok(()) | Err(Fault::NotFound(_)) => Ok(v1::RemovePodSandboxResponse {}),
        Err(fault) => Err(fault),
    }
}

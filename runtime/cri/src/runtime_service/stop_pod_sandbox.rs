//! StopPodSandbox: ends its containers, frees its network and namespaces. One that is not there is stopped.

use std::sync::Arc;

use cri_api::v1;

use crate::fault::{Fault, Outcome};
use crate::node::Node;
use crate::sandbox::Command;

pub async fn call(
    node: &Arc<Node>,
    request: v1::StopPodSandboxRequest,
) -> Outcome<v1::StopPodSandboxResponse> {
    let stopped = match node.sandbox(&request.pod_sandbox_id) {
        Ok(sandbox) => sandbox.ask(Command::Stop).await,
        Err(fault) => Err(fault),
    };
    match stopped {
        Ok(()) | Err(Fault::NotFound(_)) => Ok(v1::StopPodSandboxResponse {}),
        Err(fault) => Err(fault),
    }
}

//! RunPodSandbox: see [`crate::sandbox::run`].

use std::sync::Arc;

use cri_api::v1;

use crate::fault::{Fault, Outcome};
use crate::node::{Node, to_the_end};
use crate::sandbox;

pub async fn call(node: &Arc<Node>, request: v1::RunPodSandboxRequest) -> Outcome<v1::RunPodSandboxResponse> {
    let config = request.config.ok_or_else(|| Fault::invalid("RunPodSandbox: config is missing"))?;
    let owned = node.clone();
    let id = to_the_end(node, async move {
        sandbox::run::run(&owned, config, request.runtime_handler, &|_| Ok(())).await
    })
    .await?;
    Ok(v1::RunPodSandboxResponse { pod_sandbox_id: id.to_string() })
}

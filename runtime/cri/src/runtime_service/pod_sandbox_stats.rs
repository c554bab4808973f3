//! PodSandboxStats: what one sandbox and its containers use.

use std::sync::Arc;

use cri_api::v1;

use crate::fault::Outcome;
use crate::node::Node;
use crate::sandbox::stats;

pub async fn call(
    node: &Arc<Node>,
    request: v1::PodSandboxStatsRequest,
) -> Outcome<v1::PodSandboxStatsResponse> {
    let sandbox = node.sandbox(&request.pod_sandbox_id)?;
    Ok(v1::PodSandboxStatsResponse { stats: Some(stats::stats(node, &sandbox).await?) })
}

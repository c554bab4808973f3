//! StreamPodSandboxStats: ListPodSandboxStats in pieces.

use std::sync::Arc;

use cri_api::v1;

use super::{Stream, list_pod_sandbox_stats};
use crate::fault::Outcome;
use crate::node::Node;
use crate::pieces;

pub async fn call(
    node: &Arc<Node>,
    request: v1::StreamPodSandboxStatsRequest,
) -> Outcome<Stream<v1::StreamPodSandboxStatsResponse>> {
    let listed =
        list_pod_sandbox_stats::call(node, v1::ListPodSandboxStatsRequest { filter: request.filter }).await?;
    Ok(pieces::stream(listed.stats, |pod_sandbox_stats| v1::StreamPodSandboxStatsResponse {
        pod_sandbox_stats,
    }))
}

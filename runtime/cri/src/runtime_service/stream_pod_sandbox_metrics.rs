//! StreamPodSandboxMetrics: ListPodSandboxMetrics in pieces.

use std::sync::Arc;

use cri_api::v1;

use super::{Stream, list_pod_sandbox_metrics};
use crate::fault::Outcome;
use crate::node::Node;
use crate::pieces;

pub async fn call(
    node: &Arc<Node>,
    _: v1::StreamPodSandboxMetricsRequest,
) -> Outcome<Stream<v1::StreamPodSandboxMetricsResponse>> {
    let listed = list_pod_sandbox_metrics::call(node, v1::ListPodSandboxMetricsRequest {}).await?;
    Ok(pieces::stream(listed.pod_metrics, |pod_sandbox_metrics| v1::StreamPodSandboxMetricsResponse {
        pod_sandbox_metrics,
    }))
}

//! ListPodSandboxMetrics: what pods that are ready and their containers use, by cadvisor's names.

use std::sync::Arc;

use cri_api::v1;
use futures::future::join_all;

use crate::fault::Outcome;
use crate::metrics;
use crate::node::Node;
use crate::sandbox::Phase;

pub async fn call(
    node: &Arc<Node>,
    _: v1::ListPodSandboxMetricsRequest,
) -> Outcome<v1::ListPodSandboxMetricsResponse> {
    let mut sandboxes = node.sandboxes.all();
    sandboxes.retain(|sandbox| sandbox.record().phase == Phase::Ready);
    let all = join_all(sandboxes.iter().map(|sandbox| metrics::of_sandbox(node, sandbox))).await;
    // One that ended meanwhile is not worth an error for all.
    Ok(v1::ListPodSandboxMetricsResponse { pod_metrics: all.into_iter().flatten().collect() })
}

//! ListPodSandboxStats: what the sandboxes that are ready use.

use std::sync::Arc;

use cri_api::v1;
use futures::future::join_all;

use crate::fault::Outcome;
use crate::node::Node;
use crate::sandbox::{Phase, filter, stats};

pub async fn call(
    node: &Arc<Node>,
    request: v1::ListPodSandboxStatsRequest,
) -> Outcome<v1::ListPodSandboxStatsResponse> {
    let wanted = request.filter.unwrap_or_default();
    let sandboxes: Vec<_> = node
        .sandboxes
        .all()
        .into_iter()
        .filter(|sandbox| {
            let record = sandbox.record();
            record.phase == Phase::Ready
                && record.id.as_str().starts_with(&wanted.id)
                && filter::has_labels(&record.config.labels, &wanted.label_selector)
        })
        .collect();
    let all = join_all(sandboxes.iter().map(|sandbox| stats::stats(node, sandbox))).await;
    Ok(v1::ListPodSandboxStatsResponse { stats: all.into_iter().flatten().collect() })
}

//! ListContainerStats: what the containers that run use.

use std::sync::Arc;

use cri_api::v1;
use futures::future::join_all;

use crate::container::{Phase, filter, stats};
use crate::fault::Outcome;
use crate::node::Node;

pub async fn call(
    node: &Arc<Node>,
    request: v1::ListContainerStatsRequest,
) -> Outcome<v1::ListContainerStatsResponse> {
    let wanted = request.filter.unwrap_or_default();
    let containers: Vec<_> = node
        .containers
        .all()
        .into_iter()
        .filter(|container| {
            let record = container.record();
            record.phase == Phase::Running && filter::matches_stats(&record, &wanted)
        })
        .collect();
    let all = join_all(containers.iter().map(|container| stats::stats(node, container))).await;
    // One that ended meanwhile is not worth an error for all.
    Ok(v1::ListContainerStatsResponse { stats: all.into_iter().flatten().collect() })
}

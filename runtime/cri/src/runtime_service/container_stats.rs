//! ContainerStats: what one container uses.

use std::sync::Arc;

use cri_api::v1;

use crate::container::stats;
use crate::fault::Outcome;
use crate::node::Node;

pub async fn call(
    node: &Arc<Node>,
    request: v1::ContainerStatsRequest,
) -> Outcome<v1::ContainerStatsResponse> {
    let container = node.container(&request.container_id)?;
    Ok(v1::ContainerStatsResponse { stats: Some(stats::stats(node, &container).await?) })
}

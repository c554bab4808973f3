//! StreamContainerStats: ListContainerStats in pieces.

use std::sync::Arc;

use cri_api::v1;

use super::{Stream, list_container_stats};
use crate::fault::Outcome;
use crate::node::Node;
use crate::pieces;

pub async fn call(
    node: &Arc<Node>,
    request: v1::StreamContainerStatsRequest,
) -> Outcome<Stream<v1::StreamContainerStatsResponse>> {
    let listed =
        list_container_stats::call(node, v1::ListContainerStatsRequest { filter: request.filter }).await?;
    Ok(pieces::stream(listed.stats, |container_stats| v1::StreamContainerStatsResponse { container_stats }))
}

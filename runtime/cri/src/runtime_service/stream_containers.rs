//! StreamContainers: ListContainers in pieces.

use std::sync::Arc;

use cri_api::v1;

use super::{Stream, list_containers};
use crate::fault::Outcome;
use crate::node::Node;
use crate::pieces;

pub async fn call(
    node: &Arc<Node>,
    request: v1::StreamContainersRequest,
) -> Outcome<Stream<v1::StreamContainersResponse>> {
    let listed = list_containers::call(node, v1::ListContainersRequest { filter: request.filter }).await?;
    Ok(pieces::stream(listed.containers, |containers| v1::StreamContainersResponse { containers }))
}

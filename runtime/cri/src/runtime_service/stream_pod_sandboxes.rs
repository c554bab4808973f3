//! StreamPodSandboxes: ListPodSandbox in pieces.

use std::sync::Arc;

use cri_api::v1;

use super::{Stream, list_pod_sandbox};
use crate::fault::Outcome;
use crate::node::Node;
use crate::pieces;

pub async fn call(
    node: &Arc<Node>,
    request: v1::StreamPodSandboxesRequest,
) -> Outcome<Stream<v1::StreamPodSandboxesResponse>> {
    let listed = list_pod_sandbox::call(node, v1::ListPodSandboxRequest { filter: request.filter }).await?;
    Ok(pieces::stream(listed.items, |pod_sandboxes| v1::StreamPodSandboxesResponse { pod_sandboxes }))
}

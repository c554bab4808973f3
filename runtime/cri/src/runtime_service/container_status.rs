//! ContainerStatus: one container in full.

use std::sync::Arc;

use cri_api::v1;

use crate::container::{create, status};
use crate::fault::Outcome;
use crate::node::Node;

pub async fn call(
    node: &Arc<Node>,
    request: v1::ContainerStatusRequest,
) -> Outcome<v1::ContainerStatusResponse> {
    let container = node.container(&request.container_id)?;
    let record = container.record();
    let info = if request.verbose {
        let specification = create::specification(node, &container).await.ok();
        status::info(&record, specification.and_then(|spec| serde_json::to_value(spec).ok()))
    } else {
        Default::default()
    };
    Ok(v1::ContainerStatusResponse { status: Some(status::status(&record)), info })
}

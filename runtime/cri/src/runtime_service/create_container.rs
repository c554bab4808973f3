//! CreateContainer: see [`crate::container::create`].

use std::sync::Arc;

use cri_api::v1;

use crate::container;
use crate::fault::{Fault, Outcome};
use crate::node::{Node, to_the_end};

pub async fn call(
    node: &Arc<Node>,
    request: v1::CreateContainerRequest,
) -> Outcome<v1::CreateContainerResponse> {
    let config = request.config.ok_or_else(|| Fault::invalid("CreateContainer: config is missing"))?;
    let sandbox = node.sandbox(&request.pod_sandbox_id)?;
    let owned = node.clone();
    let id =
        to_the_end(
            node,
            async move { container::create::create(&owned, &sandbox, config, &|_| Ok(())).await },
        )
        .await?;
    Ok(v1::CreateContainerResponse { container_id: id.to_string() })
}

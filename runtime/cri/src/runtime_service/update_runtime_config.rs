//! UpdateRuntimeConfig: the kubelet tells the pod range; the network's own configuration decides here.

use std::sync::Arc;

use cri_api::v1;

use crate::fault::Outcome;
use crate::node::Node;

pub async fn call(
    _: &Arc<Node>,
    request: v1::UpdateRuntimeConfigRequest,
) -> Outcome<v1::UpdateRuntimeConfigResponse> {
    let network = request.runtime_config.and_then(|config| config.network_config).unwrap_or_default();
    tracing::info!(pod_cidr = %network.pod_cidr, "the pod range is noted; the CNI configuration decides addresses");
    Ok(v1::UpdateRuntimeConfigResponse {})
}

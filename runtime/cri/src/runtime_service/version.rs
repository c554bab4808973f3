//! Version: who we are, and which interface we speak.

use std::sync::Arc;

use cri_api::v1;

use crate::fault::Outcome;
use crate::node::Node;

/// The version field of the interface: always this, since its first days.
const KUBELET_API: &str = "0.1.0";

pub async fn call(_: &Arc<Node>, _: v1::VersionRequest) -> Outcome<v1::VersionResponse> {
    Ok(v1::VersionResponse {
        version: KUBELET_API.to_owned(),
        runtime_name: "keelson".to_owned(),
        runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
        runtime_api_version: "v1".to_owned(),
    })
}

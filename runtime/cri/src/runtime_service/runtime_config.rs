//! RuntimeConfig: how cgroups are named, which the kubelet follows.

use std::sync::Arc;

use cri_api::v1;

use crate::fault::Outcome;
use crate::node::Node;

pub async fn call(_: &Arc<Node>, _: v1::RuntimeConfigRequest) -> Outcome<v1::RuntimeConfigResponse> {
    let linux = v1::LinuxRuntimeConfiguration { cgroup_driver: v1::CgroupDriver::Cgroupfs.into() };
    Ok(v1::RuntimeConfigResponse { linux: Some(linux) })
}

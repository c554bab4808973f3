//! ImageFsInfo: what images take on disk, and what containers write; both lie in the same store here.

use std::sync::Arc;

use cri_api::v1;

use crate::clock;
use crate::container::stats::filesystem;
use crate::fault::Outcome;
use crate::node::Node;

pub async fn call(node: &Arc<Node>, _: v1::ImageFsInfoRequest) -> Outcome<v1::ImageFsInfoResponse> {
    let usage = filesystem(clock::now(), node.images.root(), node.images.usage());
    Ok(v1::ImageFsInfoResponse { image_filesystems: vec![usage.clone()], container_filesystems: vec![usage] })
}

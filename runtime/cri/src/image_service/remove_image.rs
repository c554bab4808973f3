//! RemoveImage: with all its tags. One that is not there is removed.

use std::sync::Arc;

use cri_api::v1;

use crate::fault::{Fault, Outcome};
use crate::node::{Node, to_the_end};

pub async fn call(node: &Arc<Node>, request: v1::RemoveImageRequest) -> Outcome<v1::RemoveImageResponse> {
    let name = request.image.unwrap_or_default().image;
    if name.is_empty() {
        return Err(Fault::invalid("RemoveImage: image is empty"));
    }
    let inside = node.clone();
    let remove = async move {
        let removed = inside.images.remove(&name).await;
        inside.gone.notify_one();
        Ok(removed?)
    };
    to_the_end(node, remove).await?;
    Ok(v1::RemoveImageResponse {})
}

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
    let store = node.images.clone();
    to_the_end(node, async move { Ok(store.remove(&name).await?) }).await?;
    Ok(v1::RemoveImageResponse {})
}

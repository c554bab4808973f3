//! ListImages: all, or the one that the filter names.

use std::sync::Arc;

use cri_api::v1;

use super::describe;
use crate::fault::Outcome;
use crate::node::Node;

pub async fn call(node: &Arc<Node>, request: v1::ListImagesRequest) -> Outcome<v1::ListImagesResponse> {
    let name = request.filter.and_then(|filter| filter.image).unwrap_or_default().image;
    let images =
        if name.is_empty() { node.images.list() } else { node.images.get(&name).into_iter().collect() };
    let described = images.iter().map(|image| describe::image(image, &node.options.pinned_images));
    Ok(v1::ListImagesResponse { images: described.collect() })
}

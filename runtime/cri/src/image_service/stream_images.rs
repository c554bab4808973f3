//! StreamImages: ListImages in pieces.

use std::sync::Arc;

use cri_api::v1;

use super::{Stream, list_images};
use crate::fault::Outcome;
use crate::node::Node;
use crate::pieces;

pub async fn call(
    node: &Arc<Node>,
    request: v1::StreamImagesRequest,
) -> Outcome<Stream<v1::StreamImagesResponse>> {
    let listed = list_images::call(node, v1::ListImagesRequest { filter: request.filter }).await?;
    Ok(pieces::stream(listed.images, |images| v1::StreamImagesResponse { images }))
}

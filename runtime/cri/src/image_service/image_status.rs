//! ImageStatus: one image; one that is not there is an empty answer, not an error.

use std::collections::BTreeMap;
use std::sync::Arc;

use cri_api::v1;
use serde_json::{Value, json};

use super::describe;
use crate::fault::{Fault, Outcome};
use crate::node::Node;

pub async fn call(node: &Arc<Node>, request: v1::ImageStatusRequest) -> Outcome<v1::ImageStatusResponse> {
    let name = request.image.unwrap_or_default().image;
    if name.is_empty() {
        return Err(Fault::invalid("ImageStatus: image is empty"));
    }
    let Some(image) = node.images.get(&name) else { return Ok(v1::ImageStatusResponse::default()) };
    let info = if request.verbose {
        let specification: Value = serde_json::from_str(&image.config_json).unwrap_or_default();
        let details = json!({"chainID": image.config.diff_ids.last().map(ToString::to_string), "imageSpec": specification});
        BTreeMap::from([("info".to_owned(), details.to_string())])
    } else {
        BTreeMap::new()
    };
    Ok(v1::ImageStatusResponse { image: Some(describe::image(&image, &node.options.pinned_images)), info })
}

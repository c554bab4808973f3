//! Attach: a URL where one client may join a container's streams.

use std::sync::Arc;

use cri_api::v1;
use streaming::{AttachRequest, Request};

use crate::fault::Outcome;
use crate::node::Node;
use crate::stream_backend::Streaming;

pub async fn call(
    node: &Arc<Node>,
    streaming: &Streaming,
    request: v1::AttachRequest,
) -> Outcome<v1::AttachResponse> {
    let container = node.container(&request.container_id)?;
    let record = container.running()?;
    let url = streaming.url_for(Request::Attach(AttachRequest {
        container: container.id.to_string(),
        // A terminal is what the container has, whatever the client believes; it has no stderr of its own.
        tty: record.config.tty,
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr && !record.config.tty,
    }))?;
    Ok(v1::AttachResponse { url })
}

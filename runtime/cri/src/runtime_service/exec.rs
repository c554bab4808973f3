//! Exec: a URL where one client may run a command with streams.

use std::sync::Arc;

use cri_api::v1;
use streaming::{ExecRequest, Request};

use crate::fault::{Fault, Outcome};
use crate::node::Node;
use crate::stream_backend::Streaming;

pub async fn call(
    node: &Arc<Node>,
    streaming: &Streaming,
    request: v1::ExecRequest,
) -> Outcome<v1::ExecResponse> {
    let container = node.container(&request.container_id)?;
    container.running()?;
    if request.cmd.is_empty() {
        return Err(Fault::invalid("Exec: cmd is empty"));
    }
    let url = streaming.url_for(Request::Exec(ExecRequest {
        container: container.id.to_string(),
        command: request.cmd,
        tty: request.tty,
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
    }))?;
    Ok(v1::ExecResponse { url })
}

//! PortForward: a URL where one client may connect to ports of a sandbox.

use std::sync::Arc;

use cri_api::v1;
use streaming::{PortForwardRequest, Request};

use crate::fault::{Fault, Outcome};
use crate::node::Node;
use crate::sandbox::Phase;
use crate::stream_backend::Streaming;

pub async fn call(
    node: &Arc<Node>,
    streaming: &Streaming,
    request: v1::PortForwardRequest,
) -> Outcome<v1::PortForwardResponse> {
    let sandbox = node.sandbox(&request.pod_sandbox_id)?;
    if sandbox.record().phase != Phase::Ready {
        return Err(Fault::Precondition(format!("sandbox {} is not ready", sandbox.id)));
    }
    let port = |port: &i32| {
        u16::try_from(*port).map_err(|_| Fault::invalid(format!("PortForward: {port} is no port number")))
    };
    let ports = request.port.iter().map(port).collect::<Outcome<Vec<u16>>>()?;
    let url = streaming
        .url_for(Request::PortForward(PortForwardRequest { sandbox: sandbox.id.to_string(), ports }))?;
    Ok(v1::PortForwardResponse { url })
}

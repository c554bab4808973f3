//! StopContainer: the stop signal, and SIGKILL after the timeout. One that is not there is stopped.

use std::sync::Arc;
use std::time::Duration;

use cri_api::v1;

use crate::container::Command;
use crate::fault::{Fault, Outcome};
use crate::node::Node;

/// A longer grace than this is none: nobody waits a year.
const GRACE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

pub async fn call(node: &Arc<Node>, request: v1::StopContainerRequest) -> Outcome<v1::StopContainerResponse> {
    let grace = Duration::from_secs(u64::try_from(request.timeout).unwrap_or(0)).min(GRACE_MAX);
    let stopped = match node.container(&request.container_id) {
        Ok(container) => container.ask(|reply| Command::Stop { grace, reply }).await,
        Err(fault) => Err(fault),
    };
    match stopped {
        Ok(()) | Err(Fault::NotFound(_)) => Ok(v1::StopContainerResponse {}),
        Err(fault) => Err(fault),
    }
}

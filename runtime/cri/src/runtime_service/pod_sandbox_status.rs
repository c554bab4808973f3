//! PodSandboxStatus: one sandbox in full, with its containers' statuses for whoever follows events.

use std::sync::Arc;

use cri_api::v1;

use crate::fault::Outcome;
use crate::node::Node;
use crate::{clock, container, sandbox};

pub async fn call(
    node: &Arc<Node>,
    request: v1::PodSandboxStatusRequest,
) -> Outcome<v1::PodSandboxStatusResponse> {
    let found = node.sandbox(&request.pod_sandbox_id)?;
    let record = found.record();
    let containers = node.containers_of(&found.id);
    let info = if request.verbose {
        let init = sandbox::init::process_id(&record)?;
        let held = node.processes.list().await;
        let pid =
            held.into_iter().find(|process| process.id == init && process.exit.is_none()).map(|p| p.pid);
        sandbox::status::info(&record, pid)
    } else {
        Default::default()
    };
    Ok(v1::PodSandboxStatusResponse {
        status: Some(sandbox::status::status(&record)),
        info,
        containers_statuses: containers.iter().map(|c| container::status::status(&c.record())).collect(),
        timestamp: clock::now(),
    })
}

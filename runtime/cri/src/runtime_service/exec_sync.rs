//! ExecSync: runs a command in a container and answers with its output and code.

use std::sync::Arc;
use std::time::Duration;

use cri_api::v1;

use crate::container::exec;
use crate::fault::{Fault, Outcome};
use crate::io;
use crate::node::Node;

pub async fn call(node: &Arc<Node>, request: v1::ExecSyncRequest) -> Outcome<v1::ExecSyncResponse> {
    let container = node.container(&request.container_id)?;
    let command = request.cmd.join(" ");
    let prepared = exec::prepare(node, &container, request.cmd, false).await?;
    let timeout = u64::try_from(request.timeout).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
    let ran =
        io::exec::exec_sync(&node.processes, prepared.id, &prepared.plan, prepared.cgroup, timeout).await;
    match ran {
        Ok(output) => Ok(v1::ExecSyncResponse {
            stdout: output.stdout.into(),
            stderr: output.stderr.into(),
            exit_code: output.code,
        }),
        Err(io::exec::ExecError::TimedOut { .. }) => Err(Fault::Deadline(format!(
            "command {command:?} timed out: timeout {} s exceeded",
            request.timeout
        ))),
        Err(error) => Err(Fault::failed("failed to exec in container", error)),
    }
}

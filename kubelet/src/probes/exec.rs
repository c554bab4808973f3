//! Exec: the exit code of a command in the container.

use std::time::Duration;

use cri_api::v1::ExecSyncRequest;
use tokio::time::timeout;
use tonic::Code;

use super::attempt::shown;
use super::track::Outcome;
use crate::runtime::Runtime;

/// What the runtime gets beyond the command's time to kill it and answer.
const ANSWER: Duration = Duration::from_secs(5);

pub(super) async fn attempt(
    runtime: &Runtime,
    container_id: &str,
    command: &[String],
    limit: Duration,
) -> Outcome {
    let request = ExecSyncRequest {
        container_id: container_id.to_owned(),
        cmd: command.to_vec(),
        timeout: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
    };
    let slow =
        || Outcome::Failure(format!("command timed out: {:?} timed out after {limit:?}", command.join(" ")));
    match timeout(limit + ANSWER, runtime.service().exec_sync(request)).await {
        Err(_) => slow(),
        Ok(Err(status)) if status.code() == Code::DeadlineExceeded => slow(),
        Ok(Err(status)) => {
            Outcome::Error(format!("rpc error: code = {:?} desc = {}", status.code(), status.message()))
        }
        Ok(Ok(answer)) => {
            let answer = answer.into_inner();
            match answer.exit_code {
                0 => Outcome::Success,
                _ => Outcome::Failure(shown(&[answer.stdout, answer.stderr].concat())),
            }
        }
    }
}

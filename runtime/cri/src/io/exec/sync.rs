//! ExecSync: run a command, return what it wrote and its code. Probes and lifecycle hooks.

use std::io::PipeReader;
use std::os::fd::OwnedFd;
use std::time::Duration;

use keeper_api::ProcessId;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use super::{Abandon, ExecError, KILL, OUTPUT_PATIENCE};
use crate::io::open_null;
use crate::process::{Io, Processes, SignalError, encode_gated};

/// Bytes kept of both streams; the rest is read and thrown away, so that the command goes on. Clients take an answer
/// of 16 MiB, envelope included, and refuse a larger one whole.
const MOST_OUTPUT: usize = (16 << 20) - ENVELOPE;
/// What an answer has besides output, generously.
const ENVELOPE: usize = 4 << 10;
/// Bytes read at a time.
const PIECE: usize = 64 * 1024;

/// What a command did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub code: i32,
}

/// Runs a command to its end, or kills it and its group when `timeout` has passed.
pub async fn exec_sync(
    processes: &Processes,
    id: ProcessId,
    plan: &oci::Plan,
    cgroup: Option<OwnedFd>,
    timeout: Option<Duration>,
) -> Result<ExecOutput, ExecError> {
    exec_sync_encoded(processes, id, &encode_gated(plan)?, cgroup, timeout).await
}

/// [`exec_sync`] with a plan that is encoded already and has a gate.
pub async fn exec_sync_encoded(
    processes: &Processes,
    id: ProcessId,
    plan: &[u8],
    cgroup: Option<OwnedFd>,
    timeout: Option<Duration>,
) -> Result<ExecOutput, ExecError> {
    let (stdout, to_stdout) = std::io::pipe().map_err(ExecError::Pipe)?;
    let (stderr, to_stderr) = std::io::pipe().map_err(ExecError::Pipe)?;
    let stdio = [open_null().map_err(ExecError::Pipe)?, to_stdout.into(), to_stderr.into()];
    let io = Io { stdio, held: Vec::new(), tty: false, tied: true };
    let abandon = Abandon { processes: processes.clone(), id };
    let run = async {
        processes.launch_encoded(&abandon.id, plan, io, cgroup).await?;
        let mut output = ExecOutput::default();
        let (mut one, mut other) = (Vec::new(), Vec::new());
        {
            let collect = async { tokio::join!(collect(stdout, &mut one), collect(stderr, &mut other)) };
            tokio::pin!(collect);
            let mut collected = false;
            let exit = tokio::select! {
                biased;
                exit = processes.exited(&abandon.id) => exit,
                (first, second) = &mut collect => {
                    first.and(second).map_err(ExecError::Pipe)?;
                    collected = true;
                    processes.exited(&abandon.id).await
                }
            };
            output.code = exit.code();
            if !collected && let Ok((first, second)) = tokio::time::timeout(OUTPUT_PATIENCE, collect).await {
                first.and(second).map_err(ExecError::Pipe)?;
            }
        }
        (output.stdout, output.stderr) = (one, other);
        fit(&mut output.stdout, &mut output.stderr, MOST_OUTPUT);
        Ok(output)
    };
    let Some(timeout) = timeout else { return run.await };
    match tokio::time::timeout(timeout, run).await {
        Ok(done) => done,
        Err(_) => {
            match processes.signal_group(&abandon.id, KILL).await {
                // Unknown: it was not launched yet, and nobody waits for that any more.
                Ok(()) | Err(SignalError::Unknown(_)) => Err(ExecError::TimedOut { timeout }),
                Err(error) => Err(error.into()),
            }
        }
    }
}

/// Cuts both streams to what they may have together; neither loses more than the other's half makes necessary.
fn fit(stdout: &mut Vec<u8>, stderr: &mut Vec<u8>, most: usize) {
    stdout.truncate(most - stderr.len().min(most / 2));
    stderr.truncate(most - stdout.len());
}

/// Reads to the end and keeps the beginning.
async fn collect(from: PipeReader, kept: &mut Vec<u8>) -> std::io::Result<()> {
    let mut from = pipe::Receiver::from_owned_fd(from.into())?;
    let mut piece = vec![0; PIECE];
    loop {
        let count = from.read(&mut piece).await?;
        if count == 0 {
            return Ok(());
        }
        let room = MOST_OUTPUT.saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..count.min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_fits_into_an_answer() {
        let check = |stdout: usize, stderr: usize, expect: (usize, usize)| {
            let (mut one, mut other) = (vec![0; stdout], vec![0; stderr]);
            fit(&mut one, &mut other, 10);
            assert_eq!((one.len(), other.len()), expect, "{stdout} {stderr}");
        };
        check(3, 4, (3, 4));
        check(10, 0, (10, 0));
        check(10, 2, (8, 2));
        check(2, 10, (2, 8));
        check(10, 10, (5, 5));
    }
}

//! Exec with a client at its streams: `kubectl exec`, with and without a terminal.

use std::io::PipeReader;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use keeper_api::ProcessId;
use streaming::{Stdio, TerminalSize, Writer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::{Abandon, ExecError, OUTPUT_PATIENCE};
use crate::io::feed::Feed;
use crate::io::open_null;
use crate::io::terminal::Master;
use crate::process::{Io, LaunchError, Processes, encode_gated};

/// Bytes moved at a time.
const PIECE: usize = 32 * 1024;

/// Runs a command with a client at its streams; its code. A client that goes away ends it.
pub async fn exec_stream(
    processes: &Processes,
    id: ProcessId,
    plan: &oci::Plan,
    cgroup: Option<OwnedFd>,
    tty: bool,
    stdio: Stdio,
) -> Result<i32, ExecError> {
    exec_stream_encoded(processes, id, &encode_gated(plan)?, cgroup, tty, stdio).await
}

/// [`exec_stream`] with a plan that is encoded already and has a gate.
pub async fn exec_stream_encoded(
    processes: &Processes,
    id: ProcessId,
    plan: &[u8],
    cgroup: Option<OwnedFd>,
    tty: bool,
    stdio: Stdio,
) -> Result<i32, ExecError> {
    let abandon = Abandon { processes: processes.clone(), id };
    let hangup = stdio.hangup.clone();
    let run = async {
        if tty {
            with_terminal(processes, &abandon.id, plan, cgroup, stdio).await
        } else {
            with_pipes(processes, &abandon.id, plan, cgroup, stdio).await
        }
    };
    tokio::select! {
        done = run => done,
        () = hangup.cancelled() => Err(ExecError::ClientGone),
    }
}

async fn with_pipes(
    processes: &Processes,
    id: &ProcessId,
    plan: &[u8],
    cgroup: Option<OwnedFd>,
    stdio: Stdio,
) -> Result<i32, ExecError> {
    let Stdio { stdin, stdout, stderr, .. } = stdio;
    let null = || open_null().map_err(ExecError::Pipe);
    let (for_stdin, feeder) = match &stdin {
        Some(_) => {
            let (reader, writer) = std::io::pipe().map_err(ExecError::Pipe)?;
            (reader.into(), Some(OwnedFd::from(writer)))
        }
        None => (null()?, None),
    };
    let (for_stdout, from_stdout) = output(stdout.is_some())?;
    let (for_stderr, from_stderr) = output(stderr.is_some())?;
    let io = Io { stdio: [for_stdin, for_stdout, for_stderr], held: Vec::new(), tty: false, tied: true };
    processes.launch_encoded(id, plan, io, cgroup).await?;
    // The command may end without having read its input; then nobody waits for the client to send it.
    let input = async {
        if let (Some(client), Some(feeder)) = (stdin, feeder)
            && let Ok(feed) = Feed::pipe(feeder)
            && let Err(error) = feed.run(client).await
        {
            tracing::debug!(%id, %error, "an exec's input ended");
        }
        std::future::pending::<()>().await
    };
    let output = async { tokio::join!(copy(from_stdout, stdout), copy(from_stderr, stderr)) };
    tokio::select! {
        code = until_over(processes, id, output) => Ok(code),
        () = input => Ok(0),
    }
}

async fn with_terminal(
    processes: &Processes,
    id: &ProcessId,
    plan: &[u8],
    cgroup: Option<OwnedFd>,
    stdio: Stdio,
) -> Result<i32, ExecError> {
    let null = || open_null().map_err(ExecError::Pipe);
    let io = Io { stdio: [null()?, null()?, null()?], held: Vec::new(), tty: true, tied: true };
    let running = processes.launch_encoded(id, plan, io, cgroup).await?;
    let missing = || LaunchError::Descriptor(std::io::Error::other("the command made no terminal"));
    let master = Arc::new(running.pty.ok_or_else(missing)?);
    let master = Arc::new(Master::new(master).map_err(ExecError::Pipe)?);
    let Stdio { stdin, stdout, resize, .. } = stdio;
    let input = async {
        if let Some(client) = stdin
            && let Err(error) = Feed::Terminal(Arc::clone(&master)).run(client).await
        {
            tracing::debug!(%id, %error, "an exec's input ended");
        }
        std::future::pending::<()>().await
    };
    tokio::select! {
        code = until_over(processes, id, copy_terminal(&master, stdout)) => Ok(code),
        () = input => Ok(0),
        () = follow_size(&master, resize) => Ok(0),
    }
}

/// Waits for the command's end and then, with patience, for the rest of its output.
async fn until_over<T>(processes: &Processes, id: &ProcessId, output: impl Future<Output = T>) -> i32 {
    tokio::pin!(output);
    let mut told = false;
    let exit = tokio::select! {
        biased;
        exit = processes.exited(id) => exit,
        _ = &mut output => {
            told = true;
            processes.exited(id).await
        }
    };
    if !told && tokio::time::timeout(OUTPUT_PATIENCE, output).await.is_err() {
        tracing::debug!(%id, "something that an exec left behind holds its output open");
    }
    exit.code()
}

fn output(wanted: bool) -> Result<(OwnedFd, Option<PipeReader>), ExecError> {
    if !wanted {
        return Ok((open_null().map_err(ExecError::Pipe)?, None));
    }
    let (reader, writer) = std::io::pipe().map_err(ExecError::Pipe)?;
    Ok((writer.into(), Some(reader)))
}

/// Copies a pipe to the client. One that takes no more does not end the command: its output is read
/// and thrown away.
async fn copy(from: Option<PipeReader>, to: Option<Writer>) {
    let (Some(from), Some(mut to)) = (from, to) else { return };
    let Ok(mut from) = pipe::Receiver::from_owned_fd(from.into()) else { return };
    let mut piece = vec![0; PIECE];
    let mut listening = true;
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        listening = listening && to.write_all(&piece[..count]).await.is_ok() && to.flush().await.is_ok();
    }
    let _client_gone = to.shutdown().await;
}

async fn copy_terminal(master: &Master, to: Option<Writer>) {
    let mut to = to.unwrap_or_else(|| Box::new(tokio::io::sink()));
    let mut piece = vec![0; PIECE];
    let mut listening = true;
    while let Ok(count @ 1..) = master.read(&mut piece).await {
        listening = listening && to.write_all(&piece[..count]).await.is_ok() && to.flush().await.is_ok();
    }
    let _client_gone = to.shutdown().await;
}

/// Never returns: the client's terminal may stop changing its size.
async fn follow_size(master: &Master, mut resize: mpsc::Receiver<TerminalSize>) {
    while let Some(size) = resize.recv().await {
        if let Err(error) = master.resize(size.width, size.height) {
            tracing::debug!(%error, "a size was not followed");
        }
    }
    std::future::pending().await
}

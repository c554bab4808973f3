//! The processes of a server or an agent, kept running.
//!
//! ```text
//! spawn ─► running ─► ended ─► wait (grows) ─► spawn
//!             │           └─ five times in a minute: the server ends
//!             └─ stop: SIGTERM, a bounded wait, SIGKILL
//! ```
//!
//! A child's standard input is a pipe that this process holds: a child whose supervisor is killed reads its end
//! and stops, and its successor takes over. Containers are the keeper's and do not notice.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::parts::{ENDS, Ends};

/// From SIGTERM to SIGKILL; longer than a process gives its own parts.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// How long a predecessor that is stopping may hold its folder.
const PREDECESSOR_LIMIT: Duration = Duration::from_secs(20);

/// How one process is started.
#[derive(Clone, Debug)]
pub struct Spec {
    pub name: &'static str,
    pub arguments: Vec<std::ffi::OsString>,
    /// Who it runs as; this process's own user otherwise.
    pub user: Option<u32>,
}

/// Keeps all running until `stopping`. An error: one of them ends again and again.
pub async fn keep(specs: Vec<Spec>, stopping: CancellationToken) -> anyhow::Result<()> {
    let mut running = JoinSet::new();
    for spec in specs {
        running.spawn(keep_one(spec, stopping.clone()));
    }
    let mut first = Ok(());
    while let Some(ended) = running.join_next().await {
        if let Err(error) = ended.map_err(anyhow::Error::from).flatten()
            && first.is_ok()
        {
            first = Err(error);
        }
        stopping.cancel();
    }
    first
}

async fn keep_one(spec: Spec, stopping: CancellationToken) -> anyhow::Result<()> {
    let mut ends = Ends::default();
    loop {
        let mut child = spawn(&spec)?;
        // Waiting would close it; it tells the child that we live.
        let _alive = child.stdin.take();
        let Some(ended) = stopping.run_until_cancelled(child.wait()).await else {
            stop(&spec, child).await;
            return Ok(());
        };
        tracing::error!(
            process = spec.name,
            ended = ended.map_or_else(|e| e.to_string(), |s| s.to_string()),
            "the process ended"
        );
        let Some(wait) = ends.another() else { bail!("{} ended {ENDS} times within a minute", spec.name) };
        if stopping.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return Ok(());
        }
    }
}

fn spawn(spec: &Spec) -> anyhow::Result<Child> {
    // Not by name: the file may have been replaced by a newer one.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("keelson").arg(spec.name).args(&spec.arguments).stdin(Stdio::piped());
    if let Some(user) = spec.user {
        command.uid(user).gid(user);
    }
    let child = command.spawn().with_context(|| format!("starting the {} process", spec.name))?;
    tracing::info!(process = spec.name, pid = child.id(), "started");
    Ok(child)
}

async fn stop(spec: &Spec, mut child: Child) {
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        // It may have ended this moment.
        let _gone = kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(STOP_LIMIT, child.wait()).await.is_err() {
        tracing::warn!(process = spec.name, "it does not stop; killed");
        let _gone = child.kill().await;
    }
}

/// Waits for a predecessor to go, then keeps successors waiting.
pub async fn alone(state: &Path, name: &str) -> anyhow::Result<File> {
    std::fs::create_dir_all(state).with_context(|| format!("making {}", state.display()))?;
    let path = state.join(format!("{name}.lock"));
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    let waiting = tokio::task::spawn_blocking(move || file.lock().map(|()| file));
    match tokio::time::timeout(PREDECESSOR_LIMIT, waiting).await {
        Ok(locked) => locked?.with_context(|| format!("locking {}", path.display())),
        Err(_) => {
            // The thread that waits cannot be called back; it must not keep the process.
            eprintln!(
                "keelson {name}: another one holds {}: stop it, or give this one its own --state-dir and --data-dir",
                path.display()
            );
            std::process::exit(1)
        }
    }
}

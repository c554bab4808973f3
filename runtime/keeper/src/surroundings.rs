//! What a keeper changes about itself before it serves: session, cgroup, limits, stdio.
//!
//! Children inherit it: a plan sets limits, oom_score_adj, umask and signals of its process itself.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::process::{Resource, Rlimit};
use sys::cgroup::{Cgroup, Layout};

/// The log's name in the state directory.
pub const LOG: &str = "keeper.log";
/// The log of before, kept once.
pub const OLD_LOG: &str = "keeper.log.1";
/// A log larger than this is put aside when a keeper starts.
const LARGEST_LOG: u64 = 1 << 20;
/// Nearly never killed for memory.
const OOM_SCORE: &str = "-999";

/// Leaves the session, terminal and directory of whoever started us.
pub fn leave_session() -> io::Result<()> {
    // Refused to the leader of a group, which the first stage's child is not.
    rustix::process::setsid()?;
    rustix::process::chdir("/")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    Ok(())
}

/// Moves to a cgroup of its own and lifts limits, as far as the kernel allows.
pub fn set_up(cgroup: Option<&str>) -> io::Result<()> {
    if let Some(path) = cgroup {
        let moved = Layout::detect()
            .and_then(|layout| Cgroup::create(&layout, path))
            .and_then(|cgroup| cgroup.add(std::process::id() as i32));
        if let Err(error) = moved {
            // A keeper in the wrong cgroup dies with its service, which is bad; none at all is worse.
            tracing::warn!(path, error = &error as &dyn std::error::Error, "the keeper stays in its cgroup");
        }
    }
    // A pidfd, a terminal and three streams for each process.
    let limit = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE) {
        tracing::debug!(%error, "oom_score_adj cannot be lowered here");
    }
    Ok(())
}

/// Turns stdin and stdout to nothing and stderr to the log.
pub fn leave_stdio(state: &Path) -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let path = state.join(LOG);
    if path.metadata().is_ok_and(|log| log.len() > LARGEST_LOG) {
        std::fs::rename(&path, state.join(OLD_LOG))?;
    }
    let log = File::options().create(true).append(true).mode(0o600).open(&path)?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&log)?;
    Ok(())
}

//! Container logs of bounded size: a log that has grown too large is moved away, and the runtime opens a new one.
//!
//! ```text
//! <attempt>.log                    written
//! <attempt>.log.20260102-150405    moved away, newest last; at most `files` with the one that is written
//! ```
//!
//! Looks at sizes every [`LOOK`]: a log is written by the runtime, and watching every file would cost an event per line.
//! Moved logs are not compressed.
//!
//! Reference: upstream's `logs/container_log_manager.go`, `--container-log-max-size` and `--container-log-max-files`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cri_api::v1;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::directory::Directory;
use crate::runtime::Runtime;

/// Between two looks at all logs.
const LOOK: Duration = Duration::from_secs(10);

/// How much of a container's log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one file.
    pub size: u64,
    /// Files of one container's attempt, at least two.
    pub files: usize,
}

/// Rotates until `stopping`.
pub async fn rotate(
    pods: Directory,
    runtime: Runtime,
    limits: Limits,
    now: fn() -> Timestamp,
    stopping: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        for view in pods.all() {
            for container in view.observed.running() {
                let log = PathBuf::from(&container.status.log_path);
                if !is_too_large(&log, limits.size) {
                    continue;
                }
                if let Err(error) = one(&runtime, &container.id, &log, limits, now()).await {
                    tracing::warn!(container = %container.id, log = %log.display(), error, "a log is not rotated");
                }
            }
        }
    }
}

fn is_too_large(log: &Path, size: u64) -> bool {
    std::fs::metadata(log).is_ok_and(|metadata| metadata.is_file() && metadata.len() > size)
}

/// Moves a log away; back again where the runtime does not open another.
async fn one(runtime: &Runtime, id: &str, log: &Path, limits: Limits, now: Timestamp) -> Result<(), String> {
    for old in superfluous(&moved(log), limits.files) {
        std::fs::remove_file(old).map_err(|error| format!("removing {}: {error}", old.display()))?;
    }
    let away = PathBuf::from(format!("{}.{}", log.display(), now.strftime("%Y%m%d-%H%M%S")));
    std::fs::rename(log, &away).map_err(|error| format!("moving it away: {error}"))?;
    let request = v1::ReopenContainerLogRequest { container_id: id.to_owned() };
    if let Err(status) = runtime.service().reopen_container_log(request).await {
        // Its lines go on where they went: under the name that everybody looks for.
        let back = std::fs::rename(&away, log);
        return Err(format!("{}; moved back: {}", status.message(), back.is_ok()));
    }
    Ok(())
}

/// What was moved away before, the oldest first.
fn moved(log: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let prefix = format!("{name}.");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// Those that must go so that, with the one moved away next and the new one, no more than `files` are there.
fn superfluous(moved: &[PathBuf], files: usize) -> &[PathBuf] {
    let room = files.saturating_sub(2);
    &moved[..moved.len().saturating_sub(room)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("0.log");
        for name in
            ["0.log", "0.log.20260101-000000", "0.log.20260102-000000", "0.log.20260103-000000", "1.log.x"]
        {
            std::fs::write(folder.path().join(name), "line\n").unwrap();
        }
        let moved = moved(&log);
        assert_eq!(moved.len(), 3);
        let names = |files| superfluous(&moved, files).to_vec();
        assert!(names(5).is_empty());
        assert_eq!(names(4), [folder.path().join("0.log.20260101-000000")]);
        assert_eq!(names(2).len(), 3);
        assert!(is_too_large(&log, 4) && !is_too_large(&log, 5) && !is_too_large(Path::new("/no/such"), 0));
    }
}

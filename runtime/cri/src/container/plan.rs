//! Which steps make a container, and which start it. Pure; each list backwards takes it away.

use std::path::PathBuf;

use super::ContainerRecord;

/// One action. Doing it twice, and undoing what was never done, are both fine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The record: from here on a restart knows what to take back.
    Record,
    /// The directories of its root file system.
    Snapshot,
    /// The folder the log goes into; it stays.
    LogFolder { path: PathBuf },
    /// Folders for mount sources that do not exist; they stay.
    MountSources,
    /// Who it runs as, and the specification, on disk.
    Specification,
    /// Its cgroup with its limits, in every hierarchy.
    Cgroup { path: String },
    /// FIFOs and the log.
    Streams,
    /// The process.
    Launch,
}

/// CreateContainer.
pub fn create(record: &ContainerRecord) -> Vec<Step> {
    let mut steps = vec![Step::Record, Step::Snapshot];
    if let Some(folder) = PathBuf::from(&record.log_path).parent().filter(|_| !record.log_path.is_empty()) {
        steps.push(Step::LogFolder { path: folder.to_owned() });
    }
    steps.push(Step::MountSources);
    steps.push(Step::Specification);
    steps
}

/// StartContainer.
pub fn start(record: &ContainerRecord) -> Vec<Step> {
    vec![Step::Cgroup { path: record.cgroup.clone() }, Step::Streams, Step::Launch]
}

//! The demonstration's folder and cgroups, and those of one that was killed.
//!
//! ```text
//! $TMPDIR/keelson-demo-<tag>/lock      held as long as the demonstration lives
//! cgroups /keelson-demo-<tag>          in every hierarchy
//! ```
//!
//! **Invariants.** A folder whose lock is held is somebody's. One that is not is removed with its cgroups.

use std::fs::{File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use sys::cgroup::{Cgroup, CgroupError, Layout};

const PREFIX: &str = "keelson-demo-";

/// Where a demonstration keeps everything.
pub struct Folder {
    pub path: PathBuf,
    /// In the names of kernel objects.
    pub tag: String,
    _lock: File,
}

impl Folder {
    /// A new one.
    pub fn create() -> anyhow::Result<Folder> {
        let mut bytes = [0; 3];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system has no random numbers"))?;
        let tag: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = std::env::temp_dir().join(format!("{PREFIX}{tag}"));
        // The control plane's own user passes through, and sees no names.
        std::fs::DirBuilder::new()
            .mode(0o711)
            .create(&path)
            .with_context(|| format!("making {}", path.display()))?;
        let lock = File::create(path.join("lock"))?;
        if lock.try_lock().is_err() {
            bail!("{} is somebody else's", path.display());
        }
        Ok(Folder { path, tag, _lock: lock })
    }

    /// Parent of the pods' cgroups.
    pub fn cgroup(&self) -> String {
        cgroup(&self.tag)
    }

    /// Removes it and the cgroups.
    pub fn remove(self) -> anyhow::Result<()> {
        remove(&self.path, &self.tag)
    }
}

fn cgroup(tag: &str) -> String {
    format!("/{PREFIX}{tag}")
}

/// Removes what killed demonstrations left; how many there were.
pub fn sweep() -> anyhow::Result<usize> {
    let mut swept = 0;
    for entry in std::fs::read_dir(std::env::temp_dir())?.flatten() {
        let name = entry.file_name();
        let Some(tag) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        if !abandoned(&entry.path())? {
            continue;
        }
        remove(&entry.path(), tag)?;
        swept += 1;
    }
    Ok(swept)
}

/// Whether a folder is ours to remove: root's own, and its lock free.
fn abandoned(path: &Path) -> anyhow::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::symlink_metadata(path)?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
        return Ok(false);
    }
    let Ok(lock) = File::open(path.join("lock")) else { return Ok(true) };
    match lock.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn remove(path: &Path, tag: &str) -> anyhow::Result<()> {
    let layout = Layout::detect()?;
    let cgroup = cgroup(tag);
    match Cgroup::open(&layout, &cgroup) {
        Ok(group) => group.kill()?,
        Err(CgroupError::Missing(_)) => {}
        Err(error) => return Err(error.into()),
    }
    layout.delete(&cgroup)?;
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

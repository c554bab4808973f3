//! Snapshots: what one container writes over the layers of its image.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::layers::{self, stack};
use super::layout::{FORMAT, Layout};
use crate::digest::Digest;
use crate::image::{Snapshot, Usage};

const LONGEST_ID: usize = 200;

/// `snapshot.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SnapshotRecord {
    pub version: u32,
    pub image: Digest,
    /// Keys, bottom first.
    pub layers: Vec<String>,
    /// Images that are mounted into the container besides its own.
    #[serde(default)]
    pub volumes: Vec<VolumeRecord>,
}

/// An image as a volume: its layers stay as long as the snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VolumeRecord {
    pub image: Digest,
    /// Keys, bottom first.
    pub layers: Vec<String>,
}

/// By container.
pub type Snapshots = BTreeMap<String, SnapshotRecord>;

/// Reads every snapshot. One without a readable record is of no use to anybody and is discarded.
pub fn load(layout: &Layout) -> Result<Snapshots, StoreError> {
    let path = layout.snapshots();
    let io = |source| StoreError::Io { path: path.clone(), source };
    let mut found = Snapshots::new();
    for entry in fs::read_dir(&path).map_err(io)? {
        let entry = entry.map_err(io)?;
        let container = entry.file_name().to_string_lossy().into_owned();
        let text = fs::read(entry.path().join("snapshot.json")).ok();
        match text.and_then(|text| serde_json::from_slice::<SnapshotRecord>(&text).ok()) {
            Some(record) => drop(found.insert(container, record)),
            None => {
                tracing::warn!(container, "a snapshot is damaged and is deleted");
                layout.discard(&entry.path())?;
            }
        }
    }
    Ok(found)
}

/// The directories of a snapshot.
pub fn directories(layout: &Layout, container: &str, record: &SnapshotRecord) -> Snapshot {
    let folder = layout.snapshots().join(container);
    Snapshot {
        lower: stack(layout, &record.layers),
        upper: folder.join("upper"),
        work: folder.join("work"),
        volumes: record.volumes.iter().map(|volume| stack(layout, &volume.layers)).collect(),
    }
}

/// Makes the directories of a new snapshot.
pub fn make(layout: &Layout, container: &str, record: &SnapshotRecord) -> Result<Snapshot, StoreError> {
    let mut workspace = layout.workspace()?;
    let (upper, work, json) =
        (workspace.join("upper"), workspace.join("work"), workspace.join("snapshot.json"));
    let write = || -> std::io::Result<()> {
        fs::DirBuilder::new().mode(0o755).create(&upper)?;
        fs::DirBuilder::new().mode(0o700).create(&work)?;
        like_the_root(layout, &record.layers, &upper)?;
        fs::write(&json, serde_json::to_vec(record)?)
    };
    write().map_err(|source| StoreError::Io { path: upper.clone(), source })?;
    if layout.publish(&mut workspace, &layout.snapshots().join(container))? {
        Ok(directories(layout, container, record))
    } else {
        Err(StoreError::SnapshotExists(container.to_owned()))
    }
}

/// The container's root folder is the upper one: it must look as the topmost layer that describes it says.
fn like_the_root(layout: &Layout, layers: &[String], upper: &Path) -> std::io::Result<()> {
    let described =
        |key: &&String| layers::read(&layout.layer(key)).is_some_and(|record| record.root_described);
    let (mode, uid, gid) = match layers.iter().rev().find(described) {
        Some(key) => {
            let root = fs::metadata(layout.layer_fs(key))?;
            (root.mode() & 0o7777, root.uid(), root.gid())
        }
        None => (0o755, 0, 0),
    };
    std::os::unix::fs::chown(upper, Some(uid), Some(gid))?;
    fs::set_permissions(upper, fs::Permissions::from_mode(mode))
}

/// A container id that is one harmless directory name.
pub fn check_id(container: &str) -> Result<(), StoreError> {
    let right = container.len() <= LONGEST_ID
        && container.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && container.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if right { Ok(()) } else { Err(StoreError::ContainerId(container.to_owned())) }
}

/// Counts what is below a directory: blocks on disk, and each hard-linked file once.
pub fn measure(path: &Path) -> std::io::Result<Usage> {
    let mut usage = Usage::default();
    let mut linked = std::collections::HashSet::new();
    sys::tree::walk(path, |stat| {
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_folder || stat.st_nlink == 1 || linked.insert((stat.st_dev, stat.st_ino)) {
            usage.bytes += stat.st_blocks as u64 * 512;
            usage.inodes += 1;
        }
    })?;
    Ok(usage)
}

impl SnapshotRecord {
    pub fn new(image: Digest, layers: Vec<String>, volumes: Vec<VolumeRecord>) -> SnapshotRecord {
        SnapshotRecord { version: FORMAT, image, layers, volumes }
    }

    /// Every image that it needs.
    pub fn images(&self) -> impl Iterator<Item = &Digest> {
        std::iter::once(&self.image).chain(self.volumes.iter().map(|volume| &volume.image))
    }

    /// Keys of every layer that it needs.
    pub fn needed(&self) -> impl Iterator<Item = &String> {
        self.layers.iter().chain(self.volumes.iter().flat_map(|volume| &volume.layers))
    }
}

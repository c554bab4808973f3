//! The images of one node: names, layers unpacked once, and the snapshots of containers.

use std::io;
use std::path::{Path, PathBuf};

use crate::credentials::Credentials;
use crate::image::{Image, ImageId, Snapshot, Usage};
use crate::limits::Limits;
use crate::platform::Platform;
use crate::pull::PullError;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct ImageOptions {
    /// `/var/lib/keelson/images`.
    pub root: PathBuf,
    /// `/etc/keelson/registries`: one folder per registry host with its `hosts.toml`.
    pub registries_dir: PathBuf,
    pub limits: Limits,
    pub platform: Platform,
    /// Layers downloaded and unpacked at once, over all pulls.
    pub parallel_layers: usize,
}

/// Why the store itself failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("image store {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("image store {path}: made by a newer keelson (format {found}, this one knows {known})")]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("image store {0} is in use by another process")]
    InUse(PathBuf),
    #[error("image store {path}: damaged: {reason}")]
    Damaged { path: PathBuf, reason: String },
    #[error("image {0} is not here")]
    NoImage(String),
    #[error("image id {0} is ambiguous: give more of it")]
    Ambiguous(String),
    #[error("container id {0:?} cannot name a directory")]
    ContainerId(String),
    #[error("container {0} already has a snapshot")]
    SnapshotExists(String),
    #[error("container {0} has no snapshot")]
    NoSnapshot(String),
}

/// The images of one node. Cheap to clone; all clones are one store.
#[derive(Clone, Debug)]
pub struct Store {}

// === impl ImageOptions ===

impl ImageOptions {
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, registries_dir: impl Into<PathBuf>) -> ImageOptions {
        ImageOptions {
            root: root.into(),
            registries_dir: registries_dir.into(),
            limits: Limits::default(),
            platform: Platform::here(),
            parallel_layers: 4,
        }
    }
}

// === impl Store ===

impl Store {
    /// Opens or makes the store and repairs what a crash left. Blocks on the disk.
    ///
    /// # Errors
    /// When the directory cannot be used, belongs to a newer version or to another process.
    pub fn open(options: ImageOptions) -> Result<Store, StoreError> {
        let _ = options;
        Ok(Store {})
    }

    /// Makes the image that `reference` names now the image of that name.
    ///
    /// # Errors
    /// Says which host, layer and entry failed; the store is as before.
    pub async fn pull(
        &self,
        reference: &str,
        credentials: Option<Credentials>,
    ) -> Result<ImageId, PullError> {
        let _ = credentials;
        Err(StoreError::NoImage(reference.to_owned()).into())
    }

    /// Takes the images of an archive (OCI layout or `docker save`), which may be compressed, or of an
    /// OCI layout directory.
    ///
    /// # Errors
    /// As [`Store::pull`].
    pub async fn import(&self, path: &Path) -> Result<Vec<ImageId>, PullError> {
        Err(StoreError::NoImage(path.display().to_string()).into())
    }

    /// Every image, by id.
    #[must_use]
    pub fn list(&self) -> Vec<Image> {
        Vec::new()
    }

    /// By tag, digest reference, id, or at least one hexadecimal digit of an unambiguous id.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Image> {
        let _ = name;
        None
    }

    /// Forgets the image that `name` finds, with all its tags, and deletes the layers that neither
    /// another image nor a snapshot needs. An image that is not there is removed already.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub async fn remove(&self, name: &str) -> Result<(), StoreError> {
        let _ = name;
        Ok(())
    }

    /// Marks an image as never to be removed to make room, or takes the mark away.
    ///
    /// # Errors
    /// When there is no such image, or the index cannot be written.
    pub async fn pin(&self, name: &str, pinned: bool) -> Result<(), StoreError> {
        let _ = pinned;
        Err(StoreError::NoImage(name.to_owned()))
    }

    /// What images and snapshots take on disk, and where.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage::default()
    }

    /// The store's directory: CRI's mountpoint of the image file system.
    #[must_use]
    pub fn root(&self) -> &Path {
        Path::new("/")
    }

    /// Makes the directories of a container's root file system. Layers stay until
    /// [`Store::drop_snapshot`], even if the image is removed.
    ///
    /// # Errors
    /// When the image is not here, or the container has a snapshot already.
    pub async fn snapshot(&self, container: &str, image: &ImageId) -> Result<Snapshot, StoreError> {
        let _ = container;
        Err(StoreError::NoImage(image.to_string()))
    }

    /// The directories of a container that already has them (after a restart of the daemon).
    ///
    /// # Errors
    /// When the container has none.
    pub fn snapshot_of(&self, container: &str) -> Result<Snapshot, StoreError> {
        Err(StoreError::NoSnapshot(container.to_owned()))
    }

    /// Containers that have a snapshot, sorted.
    #[must_use]
    pub fn snapshots(&self) -> Vec<String> {
        Vec::new()
    }

    /// Deletes what a container has written. A container without snapshot is fine.
    ///
    /// # Errors
    /// When the directories cannot be deleted.
    pub async fn drop_snapshot(&self, container: &str) -> Result<(), StoreError> {
        let _ = container;
        Ok(())
    }

    /// What a container has written.
    ///
    /// # Errors
    /// When the container has no snapshot.
    pub async fn snapshot_usage(&self, container: &str) -> Result<Usage, StoreError> {
        Err(StoreError::NoSnapshot(container.to_owned()))
    }
}

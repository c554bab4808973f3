//! The directories of a store, and writing them so that a crash leaves the old or the new.
//!
//! ```text
//! VERSION                 format of everything below
//! lock                    held by the process that uses the store
//! images.json             names, and the layers of each image
//! blobs/sha256/<hex>      manifests and configurations
//! layers/<key>/fs         one unpacked layer
//! layers/<key>/layer.json what it is
//! snapshots/<container>/  upper, work, snapshot.json
//! empty                   the layer of images without layers
//! tmp, trash              in the making, in the deleting: emptied when the store is opened
//! ```
//!
//! **Invariants.** What has its final name is complete. Nothing in `tmp` or `trash` is ever needed.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::StoreError;
use crate::digest::Digest;

/// Format of the directories and documents. N reads N - 1.
pub const FORMAT: u32 = 1;

/// Where things are.
#[derive(Debug)]
pub struct Layout {
    root: PathBuf,
    next: AtomicU64,
    /// Held while the store is open.
    _lock: File,
}

/// A directory in `tmp` that is deleted unless it gets its final name.
#[derive(Debug)]
pub struct Workspace {
    path: Option<PathBuf>,
}

// === impl Layout ===

impl Layout {
    /// Makes what is missing, takes the lock and empties what a crash left.
    pub fn open(root: &Path) -> Result<Layout, StoreError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { path, source }
        };
        make(root).map_err(io(root))?;
        let root = root.canonicalize().map_err(io(root))?;
        let lock = root.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock);
        let file = file.map_err(io(&lock))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(StoreError::InUse(root)),
            Err(fs::TryLockError::Error(source)) => return Err(StoreError::Io { path: lock, source }),
        }
        let layout = Layout { root, next: AtomicU64::new(0), _lock: file };
        layout.check_format()?;
        for name in ["blobs/sha256", "blobs/sha512", "layers", "snapshots", "empty", "tmp", "trash"] {
            let path = layout.root.join(name);
            make(&path).map_err(io(&path))?;
        }
        for name in ["tmp", "trash"] {
            let path = layout.root.join(name);
            empty(&path).map_err(io(&path))?;
        }
        Ok(layout)
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let path = self.root.join("VERSION");
        match fs::read_to_string(&path) {
            Ok(text) => {
                let reason =
                    || StoreError::Damaged { path: path.clone(), reason: format!("{text:?} is no version") };
                let found: u32 = text.trim().parse().map_err(|_| reason())?;
                if found > FORMAT {
                    return Err(StoreError::Newer { path: self.root.clone(), found, known: FORMAT });
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.write(&path, format!("{FORMAT}\n").as_bytes())
            }
            Err(source) => Err(StoreError::Io { path, source }),
        }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn index(&self) -> PathBuf {
        self.root.join("images.json")
    }

    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm()).join(digest.hex())
    }

    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub fn layer(&self, key: &str) -> PathBuf {
        self.root.join("layers").join(key)
    }

    pub fn layer_fs(&self, key: &str) -> PathBuf {
        self.layer(key).join("fs")
    }

    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    pub fn empty(&self) -> PathBuf {
        self.root.join("empty")
    }

    /// A new directory for something in the making.
    pub fn workspace(&self) -> Result<Workspace, StoreError> {
        let path = self.fresh("tmp");
        make(&path).map_err(|source| StoreError::Io { path: path.clone(), source })?;
        Ok(Workspace { path: Some(path) })
    }

    /// Takes something out of the store at once; `empty_trash` deletes it.
    pub fn discard(&self, path: &Path) -> Result<(), StoreError> {
        match fs::rename(path, self.fresh("trash")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(|source| StoreError::Io { path: path.to_owned(), source }),
        }
    }

    /// Discards manifests and configurations that are not among these. One that is being written at this
    /// moment is written before its image is named, so callers hold the index.
    pub fn discard_blobs_except(&self, needed: &BTreeSet<PathBuf>) -> Result<(), StoreError> {
        for algorithm in ["sha256", "sha512"] {
            let path = self.root.join("blobs").join(algorithm);
            let io = |source| StoreError::Io { path: path.clone(), source };
            for entry in fs::read_dir(&path).map_err(io)? {
                let blob = entry.map_err(io)?.path();
                if !needed.contains(&blob) {
                    self.discard(&blob)?;
                }
            }
        }
        Ok(())
    }

    /// Deletes what was discarded. May take long.
    pub fn empty_trash(&self) -> Result<(), StoreError> {
        let path = self.root.join("trash");
        empty(&path).map_err(|source| StoreError::Io { path, source })
    }

    /// Gives a finished directory its name. False when the name is taken.
    pub fn publish(&self, workspace: &mut Workspace, path: &Path) -> Result<bool, StoreError> {
        let io = |source| StoreError::Io { path: path.to_owned(), source };
        let Some(from) = workspace.path.clone() else { return Ok(false) };
        match fs::rename(&from, path) {
            Ok(()) => {
                workspace.path = None;
                sync_parent(path).map_err(io)?;
                Ok(true)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                Ok(false)
            }
            Err(source) => Err(io(source)),
        }
    }

    /// Replaces a file: after a crash it is the old one or the new one.
    pub fn write(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        let new = path.with_extension("new");
        let write = || {
            let mut file =
                OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            sync_parent(path)
        };
        write().map_err(|source| {
            let _ = fs::remove_file(&new);
            StoreError::Io { path: path.to_owned(), source }
        })
    }

    /// Waits until everything written to the store's file system is on the disk.
    pub fn sync(&self) -> Result<(), StoreError> {
        let sync = || {
            let root = File::open(&self.root)?;
            rustix::fs::syncfs(&root).map_err(io::Error::from)
        };
        sync().map_err(|source| StoreError::Io { path: self.root.clone(), source })
    }

    fn fresh(&self, folder: &str) -> PathBuf {
        self.root.join(folder).join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

// === impl Workspace ===

impl Workspace {
    /// A path in the directory.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.as_deref().unwrap_or(Path::new("")).join(name)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Some(path) = self.path.take()
            && let Err(error) = sys::tree::remove(&path)
        {
            // Opening the store next time deletes it.
            tracing::warn!(path = %path.display(), %error, "an unfinished directory stays");
        }
    }
}

/// Makes a directory that only root enters.
fn make(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Deletes what is in a folder. What cannot be deleted (a file that a container made immutable) stays and keeps nothing else.
fn empty(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let path = entry.path();
        let removed = if entry.file_type()?.is_dir() {
            sys::tree::remove(&path).map_err(io::Error::from)
        } else {
            fs::remove_file(&path)
        };
        match removed {
            // Two calls may empty the trash at once.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(path = %path.display(), %error, "something discarded stays"),
            Ok(()) => {}
        }
    }
    Ok(())
}

fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

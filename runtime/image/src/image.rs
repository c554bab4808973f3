//! An image as the store hands it out, and what a container gets of it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::config::ImageConfig;
use crate::digest::{Digest, DigestError};

/// The digest of the image configuration: one image, however it was named when pulled.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(pub(crate) Digest);

/// An image of the store, as it was when asked for.
#[derive(Clone, Debug)]
pub struct Image {
    pub id: ImageId,
    /// `docker.io/library/busybox:latest`, sorted.
    pub tags: Vec<String>,
    /// `docker.io/library/busybox@sha256:...`, sorted.
    pub digests: Vec<String>,
    /// Bytes that its layers take on disk, shared ones included, at least 1.
    pub size: u64,
    /// Never removed to make room.
    pub pinned: bool,
    /// When it was pulled or imported last, in seconds since the epoch.
    pub pulled_at: i64,
    pub config: Arc<ImageConfig>,
    /// The configuration as it was published.
    pub config_json: Arc<str>,
}

/// The directories of one container's root file system, for overlayfs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Topmost first.
    pub lower: Vec<PathBuf>,
    pub upper: PathBuf,
    pub work: PathBuf,
    /// The layers of each image that is mounted besides, in the order in which they were asked for.
    pub volumes: Vec<Vec<PathBuf>>,
}

/// Disk space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub bytes: u64,
    pub inodes: u64,
}

// === impl ImageId ===

impl ImageId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ImageId {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<ImageId, DigestError> {
        text.parse().map(ImageId)
    }
}

//! Image references, registries, content store, layers and snapshots.
//!
//! - [`Reference`]: what an image is called.
//! - [`Store`]: pull, import, list, remove; a container's [`Snapshot`] for overlayfs.
//! - [`footprint`]: what a store leaves on the host.

pub mod config;
pub mod credentials;
pub mod digest;
pub mod follow;
pub mod image;
mod import;
mod ingest;
pub mod layer;
pub mod limits;
pub mod platform;
pub mod pull;
mod push;
pub mod reference;
pub mod registry;
pub mod store;

use std::path::Path;

pub use config::ImageConfig;
pub use credentials::Credentials;
pub use digest::Digest;
pub use follow::{Follow, Stop};
pub use image::{Image, ImageId, Snapshot, Usage};
pub use limits::Limits;
pub use platform::Platform;
pub use pull::PullError;
pub use reference::{Reference, ReferenceError};
pub use store::{ImageOptions, Store, StoreError};

/// What a store at `root` leaves on the host.
#[must_use]
pub fn footprint(root: &Path) -> sys::footprint::Footprint {
    sys::footprint::Footprint { files: vec![root.to_owned()], ..Default::default() }
}

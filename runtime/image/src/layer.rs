//! One layer: from the bytes of a registry or an archive to a directory that overlayfs can stack.
//!
//! ```text
//! bytes -> count, sha256 -> inflate -> count, limits, sha256 -> tar entries -> files
//!          (digest)                    (bomb guard, diff id)
//! ```
//!
//! All of it is one pass on one thread; nothing compressed is written. A layer is unpacked without
//! looking at the layers below it, so that all layers of an image unpack at once; the little that needs
//! them (hard links downwards, folders that the layer does not describe) is settled afterwards.
//!
//! **Invariants.** Content is hostile: nothing is written outside the layer's directory, an error names
//! the entry. Digests are compared before anything is kept.
//!
//! Reference: OCI image spec, layer.md.

mod apply;
mod archive;
mod deferred;
mod entry_path;
mod fault;
mod lower;
mod metadata;
mod metered;
mod pack;
mod place;
mod sparse;
mod tar_stream;
mod unpack;
mod whiteout;

pub use archive::{inflate, walk};
pub use deferred::Deferred;
pub use fault::{Fault, LayerError};
pub use pack::pack;
pub use tar_stream::{Entry, Kind};
pub use unpack::{Budget, Unpacked, Wanted, unpack};

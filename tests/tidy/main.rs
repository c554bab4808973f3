//! Style kept by a test: which crate may use which, what a file may be called and how long it may
//! grow, where `unsafe` may stand, and what the executable must not contain.

mod executable;
mod layers;
mod rooms;

use std::path::PathBuf;

/// The project's root folder.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

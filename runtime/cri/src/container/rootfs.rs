//! A look at a container's root before it has one: its layers stacked, read-only, attached nowhere.
//!
//! The mount is detached, so the host's mount table never sees it and closing the descriptor ends it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::fault::{Doing as _, Outcome};

/// The layers as one tree, topmost first in `lower`.
pub fn view(lower: &[PathBuf]) -> Outcome<OwnedFd> {
    let what = || "looking into the image's root".to_owned();
    match lower {
        // overlayfs wants two layers; one is the tree itself.
        [only] => rustix::fs::open(only, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .doing(what),
        layers => {
            let joined: Vec<String> = layers.iter().map(|layer| escaped(layer)).collect();
            let options = [("lowerdir".to_owned(), Some(joined.join(":")))];
            sys::mount::new_filesystem("overlay", "overlay", &options, sys::mount::attribute::READ_ONLY)
                .doing(what)
        }
    }
}

/// A colon separates layers and a backslash escapes.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace('\\', "\\\\").replace(':', "\\:")
}

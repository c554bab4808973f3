//! Stacks an image's layers. The mount belongs to the child's namespace: the host never sees it.
//!
//! fsconfig takes values of at most 255 bytes, so many layers are given one by one (`lowerdir+`, Linux 6.7)
//! and, on older kernels, all at once to mount(2).
//!
//! Reference: Documentation/filesystems/overlayfs.rst.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use sys::Errno;
use sys::mount::{self, FilesystemError};

use super::{Failure, root};

/// fsconfig copies no more from a string, its end included.
const FSCONFIG_VALUE_BYTES: usize = 256;

pub(crate) fn mount(lower: &[PathBuf], upper: &Path, work: &Path) -> Result<OwnedFd, Failure> {
    let joined = lower.iter().map(|path| escape(path)).collect::<Vec<_>>().join(":");
    let mut options: Vec<(String, Option<String>)> = Vec::new();
    if joined.len() < FSCONFIG_VALUE_BYTES {
        options.push(("lowerdir".into(), Some(joined.clone())));
    } else {
        options.extend(lower.iter().map(|path| ("lowerdir+".into(), Some(text(path)))));
    }
    options.push(("upperdir".into(), Some(text(upper))));
    options.push(("workdir".into(), Some(text(work))));
    match mount::new_filesystem("overlay", "overlay", &options, 0) {
        Err(FilesystemError { errno: Errno::INVAL | Errno::NOSYS, .. })
            if joined.len() >= FSCONFIG_VALUE_BYTES =>
        {
            legacy(joined, upper, work)
        }
        result => Ok(result?),
    }
}

/// Mounts over the upper directory, which overlayfs itself reaches by a private mount of its own, and takes the
/// mount from there.
fn legacy(joined: String, upper: &Path, work: &Path) -> Result<OwnedFd, Failure> {
    let options = [
        ("lowerdir".to_owned(), Some(joined)),
        ("upperdir".to_owned(), Some(escape(upper))),
        ("workdir".to_owned(), Some(escape(work))),
    ];
    let place = root::path_descriptor(upper)?;
    mount::legacy_filesystem("overlay", "overlay", &options, 0, place.as_fd())?;
    Ok(mount::clone_tree(upper, false)?)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Overlayfs separates lower directories by colons.
fn escape(path: &Path) -> String {
    text(path).replace('\\', "\\\\").replace(':', "\\:")
}

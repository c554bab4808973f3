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

/// Without anything to write to; overlayfs wants two layers, one is the tree itself.
pub(crate) fn mount_read_only(lower: &[PathBuf]) -> Result<OwnedFd, Failure> {
    let tree = match lower {
        [only] => mount::clone_tree(only, false)?,
        layers => stack(layers, None)?,
    };
    mount::set_attributes(tree.as_fd(), mount::attribute::READ_ONLY, 0, 0, false)?;
    Ok(tree)
}

pub(crate) fn mount(lower: &[PathBuf], upper: &Path, work: &Path) -> Result<OwnedFd, Failure> {
    stack(lower, Some((upper, work)))
}

fn stack(lower: &[PathBuf], writable: Option<(&Path, &Path)>) -> Result<OwnedFd, Failure> {
    let joined = lower.iter().map(|path| escape(path)).collect::<Vec<_>>().join(":");
    let mut options: Vec<(String, Option<String>)> = Vec::new();
    if joined.len() < FSCONFIG_VALUE_BYTES {
        options.push(("lowerdir".into(), Some(joined.clone())));
    } else {
        options.extend(lower.iter().map(|path| ("lowerdir+".into(), Some(text(path)))));
    }
    if let Some((upper, work)) = writable {
        options.push(("upperdir".into(), Some(text(upper))));
        options.push(("workdir".into(), Some(text(work))));
    }
    match mount::new_filesystem("overlay", "overlay", &options, 0) {
        Err(FilesystemError { errno: Errno::INVAL | Errno::NOSYS, .. })
            if joined.len() >= FSCONFIG_VALUE_BYTES =>
        {
            legacy(joined, lower, writable)
        }
        result => Ok(result?),
    }
}

/// Mounts over the upper (else the topmost) directory, which overlayfs itself reaches by a private mount of its own,
/// and takes the mount from there.
fn legacy(joined: String, lower: &[PathBuf], writable: Option<(&Path, &Path)>) -> Result<OwnedFd, Failure> {
    let mut options = vec![("lowerdir".to_owned(), Some(joined))];
    let mut over = lower.first().map(PathBuf::as_path).ok_or(Errno::INVAL)?;
    if let Some((upper, work)) = writable {
        options.push(("upperdir".to_owned(), Some(escape(upper))));
        options.push(("workdir".to_owned(), Some(escape(work))));
        over = upper;
    }
    let place = root::path_descriptor(over)?;
    mount::legacy_filesystem("overlay", "overlay", &options, 0, place.as_fd())?;
    Ok(mount::clone_tree(over, false)?)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Overlayfs separates lower directories by colons.
fn escape(path: &Path) -> String {
    text(path).replace('\\', "\\\\").replace(':', "\\:")
}

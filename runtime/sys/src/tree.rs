//! Folders that others have filled, with all that is below, however deep it is nested.
//!
//! A program can nest folders without end (mkdir, chdir, and again), far beyond what has a path, and whoever follows it
//! by recursion ends with its own stack.
//!
//! **Invariants.** Links are not followed and mounts are not entered; memory and open files have bounds.
//!
//! Reference: openat2(2) `RESOLVE_NO_XDEV`, Linux 5.6.

mod remove;
mod walk;

use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, OwnedFd};

pub use remove::{RemoveError, remove, remove_at};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
pub use walk::walk;

/// Opens a folder for listing, but not what is mounted there.
fn open(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd as _;
    use std::path::Path;

    use super::*;

    /// Folders in folders, the first of them `top`.
    pub fn nest(top: &Path, levels: usize) {
        fs::create_dir(top).unwrap();
        let mut inner: OwnedFd = fs::File::open(top).unwrap().into();
        for _ in 0..levels {
            rustix::fs::mkdirat(&inner, "a", Mode::from_raw_mode(0o755)).unwrap();
            inner = open(inner.as_fd(), "a".as_ref()).unwrap();
        }
        rustix::fs::openat(&inner, "end", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o600))
            .unwrap();
    }
}

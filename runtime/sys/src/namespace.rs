//! Joining and leaving namespaces.
//!
//! Both change the calling thread for good, so only a child stage or a thread that never returns calls them.
//! The PID namespace is the exception: it changes for children only.
//!
//! Reference: namespaces(7), setns(2); a pidfd instead of a namespace file since Linux 5.8.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::process::last_errno;

/// Joins by namespace file (one kind, checked) or by pidfd (several kinds at once).
pub fn join(descriptor: BorrowedFd<'_>, kinds: u32) -> Result<(), Errno> {
    // SAFETY: setns takes integers; it changes only the calling thread.
    let result = unsafe { libc::setns(descriptor.as_raw_fd(), kinds as libc::c_int) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Joins the namespace a file is of, or is bound to.
pub fn join_path(path: &Path, kind: u32) -> Result<(), Errno> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    join(std::os::fd::AsFd::as_fd(&file), kind)
}

/// Leaves the given namespaces for new ones.
pub fn unshare(kinds: u32) -> Result<(), Errno> {
    // SAFETY: only CLONE_NEW* bits are given by the callers; CLONE_FILES and CLONE_VM are masked away.
    let result = unsafe { libc::unshare(kinds as libc::c_int & !(libc::CLONE_FILES | libc::CLONE_VM)) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

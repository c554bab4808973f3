//! How overlayfs writes down what is *not* in a layer: whiteouts and opaque directories.
//!
//! Mounting is not here (`mount`). Making them needs CAP_MKNOD and CAP_SYS_ADMIN.
//!
//! Reference: Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".

use std::ffi::{CStr, OsStr};
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Mode, Stat, mknodat};
use rustix::io::Errno;

use crate::xattr;

/// Attributes by which overlayfs keeps its own books; content must not bring any.
pub const ATTRIBUTE_PREFIXES: &[&str] = &["trusted.overlay.", "user.overlay."];

const OPAQUE: &CStr = c"trusted.overlay.opaque";

/// Layers that one mount can stack.
pub const LAYERS_MAX: usize = 500;

/// Hides what lower layers have under this name.
pub fn make_whiteout(directory: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    mknodat(directory, name, FileType::CharacterDevice, Mode::empty(), 0)
}

/// Whether this file is a whiteout: a character device 0:0.
#[must_use]
pub fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Hides what lower layers have in the directory of this name.
pub fn set_opaque(directory: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    xattr::set(directory, name, OPAQUE, b"y")
}

/// Whether lower layers are hidden in the directory of this name.
pub fn is_opaque(directory: BorrowedFd<'_>, name: &OsStr) -> Result<bool, Errno> {
    Ok(xattr::get(directory, name, OPAQUE)?.as_deref() == Some(b"y".as_slice()))
}

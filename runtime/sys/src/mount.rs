//! Mounts through descriptors: make or clone a tree detached, set its attributes, then attach it.
//!
//! A detached tree is invisible until it is attached to a descriptor of its target, so no path is looked up
//! twice and no half-configured mount is ever seen. Where the mount API of Linux 5.2 is not available
//! (a seccomp profile around us), mount(2) does the same through /proc/self/fd.
//!
//! **Invariants.** No function here resolves a path of a container: targets are descriptors (see `rooted`).
//!
//! Reference: fsopen, fsconfig, fsmount, move_mount, open_tree (5.2), mount_setattr (5.12).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};

use crate::process::last_errno;

/// `MOUNT_ATTR_*`, the attributes of one mount.
pub mod attribute {
    pub const READ_ONLY: u64 = 0x01;
    pub const NO_SUID: u64 = 0x02;
    pub const NO_DEV: u64 = 0x04;
    pub const NO_EXEC: u64 = 0x08;
    /// The three access-time modes share these bits: clear the mask before setting one.
    pub const ACCESS_TIME: u64 = 0x70;
    pub const RELATIVE_ATIME: u64 = 0x00;
    pub const NO_ATIME: u64 = 0x10;
    pub const STRICT_ATIME: u64 = 0x20;
    pub const NO_DIR_ATIME: u64 = 0x80;
    pub const NO_SYMLINK_FOLLOW: u64 = 0x0020_0000;
    pub(super) const ID_MAP: u64 = 0x0010_0000;
}

/// The kernel refused to make a filesystem; `message` is what it wrote about it, or empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{errno}{}{message}", if message.is_empty() { "" } else { ": " })]
pub struct FilesystemError {
    pub errno: Errno,
    pub message: String,
}

impl From<Errno> for FilesystemError {
    fn from(errno: Errno) -> FilesystemError {
        FilesystemError { errno, message: String::new() }
    }
}

/// A new instance of a filesystem, detached. Options with a value are passed as strings, others as flags.
pub fn new_filesystem(
    name: &str,
    source: &str,
    options: &[(String, Option<String>)],
    attributes: u64,
) -> Result<OwnedFd, FilesystemError> {
    let context = rustix::mount::fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)?;
    let configured = configure(&context, source, options).and_then(|()| {
        rustix::mount::fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::from_bits_retain(attributes as u32),
        )
    });
    configured.map_err(|errno| FilesystemError { errno, message: kernel_message(&context) })
}

fn configure(context: &OwnedFd, source: &str, options: &[(String, Option<String>)]) -> Result<(), Errno> {
    if !source.is_empty() {
        rustix::mount::fsconfig_set_string(context, "source", source)?;
    }
    for (key, value) in options {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(context, key.as_str(), value.as_str())?,
            None => rustix::mount::fsconfig_set_flag(context, key.as_str())?,
        }
    }
    rustix::mount::fsconfig_create(context)
}

/// What the kernel logged about a filesystem context: `e proc: Unknown parameter 'x'`.
fn kernel_message(context: &OwnedFd) -> String {
    let mut buffer = [0u8; 512];
    match rustix::io::read(context, &mut buffer[..]) {
        Ok(length) => {
            let text = String::from_utf8_lossy(&buffer[..length]);
            text.trim_start_matches(['e', 'w', 'i', ' ']).trim_end().to_owned()
        }
        Err(_) => String::new(),
    }
}

/// A detached copy of the mount at `path`, and of all below it when `recursive`.
pub fn clone_tree(path: &Path, recursive: bool) -> Result<OwnedFd, Errno> {
    rustix::mount::open_tree(CWD, path, clone_flags(recursive))
}

/// A detached copy of the mount that an open descriptor is on, rooted at it.
pub fn clone_descriptor(descriptor: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    rustix::mount::open_tree(descriptor, "", clone_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH)
}

fn clone_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive { flags | OpenTreeFlags::AT_RECURSIVE } else { flags }
}

/// Attaches a detached tree on top of `target`.
pub fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::mount::move_mount(
        tree,
        "",
        target,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

/// Changes the attributes of a mount, or of its whole tree. `propagation` is 0 or one of `MS_*`.
pub fn set_attributes(
    mount: BorrowedFd<'_>,
    set: u64,
    clear: u64,
    propagation: u32,
    recursive: bool,
) -> Result<(), Errno> {
    let attributes =
        libc::mount_attr { attr_set: set, attr_clr: clear, propagation: propagation.into(), userns_fd: 0 };
    change(mount, &attributes, recursive)
}

/// Gives a detached tree the ids of a user namespace: what its map calls "outside" is what the mount shows (5.12).
pub fn set_id_map(tree: BorrowedFd<'_>, namespace: BorrowedFd<'_>, recursive: bool) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: attribute::ID_MAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: namespace.as_raw_fd() as u64,
    };
    change(tree, &attributes, recursive)
}

fn change(mount: BorrowedFd<'_>, attributes: &libc::mount_attr, recursive: bool) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the kernel reads one mount_attr of the size given, which outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Changes the propagation (`MS_*`, with `MS_REC`) at a path of the caller's own mount namespace.
pub fn change_propagation(path: &Path, flags: u32) -> Result<(), Errno> {
    rustix::mount::mount_change(path, MountPropagationFlags::from_bits_retain(flags))
}

/// Makes `new_root`, a mount, the root of the calling process's mount namespace and detaches the old one.
pub fn pivot(new_root: BorrowedFd<'_>) -> Result<(), Errno> {
    use rustix::fs::{Mode, OFlags};
    let old = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::process::fchdir(new_root)?;
    // Both on ".": the old root ends up on top of the new one, where it needs no directory of its own.
    rustix::process::pivot_root(".", ".")?;
    rustix::process::fchdir(&old)?;
    // Without this the unmount below would propagate to the host when its root is shared.
    rustix::mount::mount_change(".", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}

/// Makes `new_root` the root by moving its mount over `/`: for an initial ramdisk, which cannot be pivoted away.
pub fn move_to_root(new_root: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::process::fchdir(new_root)?;
    rustix::mount::mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")
}

/// Mounts by mount(2) on an open target, for kernels or sandboxes without the mount API.
pub fn legacy_filesystem(
    name: &str,
    source: &str,
    options: &[(String, Option<String>)],
    attributes: u64,
    target: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let data = options
        .iter()
        .map(|(key, value)| value.as_ref().map_or(key.clone(), |value| format!("{key}={value}")))
        .collect::<Vec<_>>()
        .join(",");
    let data = std::ffi::CString::new(data).map_err(|_| Errno::INVAL)?;
    rustix::mount::mount(source, by_descriptor(target), name, legacy_flags(attributes), data.as_c_str())
}

/// Binds by mount(2) between two open descriptors.
pub fn legacy_bind(
    source: &Path,
    recursive: bool,
    attributes: u64,
    target: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let path = by_descriptor(target);
    if recursive {
        rustix::mount::mount_bind_recursive(source, &path)?;
    } else {
        rustix::mount::mount_bind(source, &path)?;
    }
    if attributes == 0 {
        return Ok(());
    }
    // The descriptor still names what is below the new mount; only a fresh lookup of its path finds the mount.
    let place = rustix::fs::readlink(&path, Vec::new())?;
    rustix::mount::mount_remount(place, MountFlags::BIND | legacy_flags(attributes), "")
}

fn by_descriptor(descriptor: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

fn legacy_flags(attributes: u64) -> MountFlags {
    use attribute as a;
    [
        (a::READ_ONLY, MountFlags::RDONLY),
        (a::NO_SUID, MountFlags::NOSUID),
        (a::NO_DEV, MountFlags::NODEV),
        (a::NO_EXEC, MountFlags::NOEXEC),
        (a::NO_ATIME, MountFlags::NOATIME),
        (a::STRICT_ATIME, MountFlags::STRICTATIME),
        (a::NO_DIR_ATIME, MountFlags::NODIRATIME),
    ]
    .into_iter()
    .filter(|(bit, _)| attributes & bit != 0)
    .fold(MountFlags::empty(), |flags, (_, flag)| flags | flag)
}

/// The magic number of the filesystem a descriptor is on.
pub fn filesystem_magic(descriptor: impl AsFd) -> Result<u64, Errno> {
    Ok(rustix::fs::fstatfs(descriptor)?.f_type as u64)
}

/// procfs.
pub const PROC_MAGIC: u64 = 0x9fa0;

/// The mount point of the mount that `path` lies on, in the caller's mount namespace.
pub fn mount_point_of(path: &Path) -> Option<std::path::PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| std::path::PathBuf::from(unescape(point)))
        .filter(|point| path.starts_with(point))
        .max_by_key(|point| point.components().count())
}

/// Undoes the octal escapes of the mount table.
fn unescape(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .into_iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

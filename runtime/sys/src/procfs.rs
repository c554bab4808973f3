//! Writes to procfs that land in procfs.
//!
//! Security settings are written to files below /proc. Whoever can put another file system in the way of one (a
//! container that shares mounts, a bind mount over it) would make such a write go nowhere or somewhere harmful, and
//! the process would run without what was written. So the file is looked up without leaving the mount of /proc, and
//! what is at /proc must be the root of a procfs.
//!
//! Reference: CVE-2019-16884, CVE-2025-52881; openat2(2), Linux 5.6.

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::mount;

/// The inode of a procfs's root.
const ROOT_INODE: u64 = 1;

/// Writes a value, in one call, to a file given relative to /proc. EXDEV says that something else lies in the way.
pub fn write(path: &str, value: &[u8]) -> Result<(), Errno> {
    let root = rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    if mount::filesystem_magic(&root)? != mount::PROC_MAGIC || rustix::fs::fstat(&root)?.st_ino != ROOT_INODE
    {
        return Err(Errno::XDEV);
    }
    // `self` is an ordinary link; the magic ones lead out of procfs.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(&root, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    let written = rustix::io::write(&file, value)?;
    if written == value.len() { Ok(()) } else { Err(Errno::IO) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_procfs_is_written() {
        write("self/oom_score_adj", std::fs::read("/proc/self/oom_score_adj").unwrap().trim_ascii()).unwrap();
        for (path, errno) in [
            ("../etc/hostname", Errno::XDEV),
            ("self/root/etc/hostname", Errno::LOOP),
            ("self/cwd/x", Errno::LOOP),
            ("no-such-file", Errno::NOENT),
        ] {
            assert_eq!(write(path, b"x"), Err(errno), "{path}");
        }
    }
}

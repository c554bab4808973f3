//! The root of the cage's mount namespace, made private; also where the demonstration runs in a chroot.
//!
//! A chroot's root is a directory somewhere in a mount, and a directory has no propagation that could be changed:
//! what is mounted below it would be seen outside. So the thread steps out of the chroot, which is possible because
//! its mount namespace is its own, makes all of that private, and comes back with the directory as a mount and as
//! the namespace's root.
//!
//! **Invariant.** The caller's mount namespace is its own; nothing here reaches another.

use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use rustix::fs::{Mode, OFlags};

/// How deep a chroot may lie.
const DEEPEST: usize = 256;

/// Nothing that is mounted from here on is seen outside. `inside` is any directory.
pub fn make_private(inside: &Path) -> anyhow::Result<()> {
    match private() {
        Err(Errno::EINVAL) => become_mount(inside).context("the chroot's directory as a root of its own"),
        done => done.context("making mounts private"),
    }
}

fn private() -> Result<(), Errno> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
}

fn become_mount(inside: &Path) -> anyhow::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty())?;
    leave_chroot(inside, root.as_fd())?;
    private()?;
    let tree = sys::mount::clone_descriptor(root.as_fd(), true)?;
    sys::mount::attach(tree.as_fd(), root.as_fd())?;
    sys::mount::pivot(tree.as_fd())?;
    Ok(())
}

/// With a working directory outside of the root, `..` is bounded by the namespace's root alone.
fn leave_chroot(inside: &Path, root: std::os::fd::BorrowedFd<'_>) -> anyhow::Result<()> {
    rustix::process::chroot(inside)?;
    rustix::process::fchdir(root)?;
    let identity = || rustix::fs::stat(".").map(|file| (file.st_dev, file.st_ino));
    let mut here = identity()?;
    for _ in 0..DEEPEST {
        rustix::process::chdir("..")?;
        let above = identity()?;
        if above == here {
            return Ok(rustix::process::chroot(".")?);
        }
        here = above;
    }
    anyhow::bail!("the chroot lies more than {DEEPEST} directories deep")
}

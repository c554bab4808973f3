//! Overlays that the parent stacks: over layers whose ids are mapped, for a container in a user namespace, and over
//! those of an image that is mounted as a volume. Detached, seen nowhere.
//!
//! Overlayfs takes its layers by path, so a child with a mount namespace of its own puts a mapped tree over each of
//! them, stacks them, and sends the result. The upper directory is not mapped: what the container makes is stored with
//! the host's ids, because overlayfs itself makes things there as the host's root.
//!
//! Reference: Documentation/filesystems/overlayfs.rst; overlayfs over id-mapped layers, Linux 5.19.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use sys::Errno;
use sys::mount;
use sys::process::{self, CloneRequest};
use sys::rooted::{self, Links};

use super::super::{Channel, LaunchError, Report};
use crate::child::{Failure, overlay};
use crate::plan::Namespaces;

/// `MS_REC | MS_PRIVATE`.
const PRIVATE_TREE: u32 = 1 << 14 | 1 << 18;

/// Stacks `lower` as `ids` shows it.
pub(super) fn stack(
    lower: &[PathBuf],
    upper: &Path,
    work: &Path,
    ids: BorrowedFd<'_>,
) -> Result<OwnedFd, LaunchError> {
    let failed = |what, errno| LaunchError::IdMapped { path: upper.to_owned(), what, errno };
    from_child(failed, "layers with mapped ids cannot be stacked", || {
        map(lower, ids)?;
        overlay::mount(lower, upper, work)
    })
}

/// Stacks `lower`, read-only, and shows what is at `sub_path` of it. Neither the host nor the container sees more.
pub(super) fn image(
    lower: &[PathBuf],
    sub_path: &Path,
    ids: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, LaunchError> {
    let failed = |what, errno| LaunchError::Image { path: sub_path.to_owned(), what, errno };
    from_child(failed, "cannot be mounted", || {
        match ids {
            Some(ids) => map(lower, ids)?,
            None => mount::change_propagation("/".as_ref(), PRIVATE_TREE)?,
        }
        let tree = overlay::mount_read_only(lower)?;
        if sub_path.as_os_str().is_empty() {
            return Ok(tree);
        }
        // A part of a mount can be cloned only while the mount is attached.
        let over = lower.first().ok_or(Errno::INVAL)?;
        let place = rustix::fs::open(over, PLACE, rustix::fs::Mode::empty())?;
        mount::attach(tree.as_fd(), place.as_fd())?;
        let part = rooted::locate(tree.as_fd(), sub_path, Links::Follow)?;
        Ok(mount::clone_descriptor(part.as_fd(), false)?)
    })
}

/// Runs `make` in a child with a mount namespace of its own, and takes the tree that it makes.
fn from_child(
    failed: impl Fn(&'static str, Errno) -> LaunchError,
    refused: &'static str,
    make: impl FnOnce() -> Result<OwnedFd, Failure>,
) -> Result<OwnedFd, LaunchError> {
    let system = |what| move |errno| LaunchError::System { what, errno };
    let (ours, theirs) = Channel::pair().map_err(system("make a channel"))?;
    let request = CloneRequest { flags: Namespaces::MOUNT.0.into(), cgroup: None };
    let child = process::clone_process(&request, || {
        let said = match make() {
            Ok(tree) => theirs.report_listener(tree.as_fd()),
            Err(Failure { errno, detail }) => {
                theirs.report(&Report::Failed { index: 0, errno: errno.raw_os_error(), detail })
            }
        };
        i32::from(said.is_err())
    })
    .map_err(system("clone a child that stacks layers"))?;
    drop(theirs);
    let answer = ours.wait_readable().and_then(|()| ours.receive());
    let _gone = process::signal(child.pidfd.as_fd(), Signal::KILL.as_raw());
    process::reap(child.pidfd.as_fd()).map_err(system("reap the child that stacks layers"))?;
    match answer {
        Ok(Some((Report::Listener, Some(tree)))) => Ok(tree),
        Ok(Some((Report::Failed { errno, .. }, _))) => Err(failed(refused, Errno::from_raw_os_error(errno))),
        Ok(_) => Err(LaunchError::Died),
        Err(errno) => Err(failed("the child that stacks layers does not answer", errno)),
    }
}

/// In the child, where nothing of it is seen outside: mapped trees over the layers.
fn map(lower: &[PathBuf], ids: BorrowedFd<'_>) -> Result<(), Failure> {
    mount::change_propagation("/".as_ref(), PRIVATE_TREE)?;
    for layer in lower {
        let tree = mount::clone_tree(layer, false)?;
        mount::set_id_map(tree.as_fd(), ids, false)?;
        let place = rustix::fs::open(layer, PLACE, rustix::fs::Mode::empty())?;
        mount::attach(tree.as_fd(), place.as_fd())?;
    }
    Ok(())
}

const PLACE: rustix::fs::OFlags = rustix::fs::OFlags::PATH.union(rustix::fs::OFlags::CLOEXEC);

//! The container's root filesystem: brought up in the child's mount namespace, then made `/`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use sys::Errno;
use sys::mount::{self, attribute};

use super::{Child, Failure, overlay};
use crate::plan::Rootfs;

/// `MS_PRIVATE`.
pub(super) const PRIVATE: u32 = 1 << 18;

impl Child {
    /// Mounts the root and keeps its descriptor. It is attached over a directory of the host, which only this
    /// mount namespace sees, because things can be attached below it only then.
    pub(super) fn bring_up_root(&mut self, rootfs: &Rootfs) -> Result<(), Failure> {
        let given = if self.own_ids { Some(self.id_mapped.pop_front().ok_or(Errno::BADF)?) } else { None };
        let (tree, place) = match (rootfs, given) {
            // Only the host's root is sure to be reached from here; it is left by the pivot.
            (_, Some(tree)) => (tree, Path::new("/")),
            (Rootfs::Directory(path), None) => (mount::clone_tree(path, true)?, path.as_path()),
            (Rootfs::Overlay { lower, upper, work }, None) => {
                (overlay::mount(lower, upper, work)?, upper.as_path())
            }
        };
        mount::set_attributes(tree.as_fd(), 0, 0, PRIVATE, false)?;
        mount::attach(tree.as_fd(), path_descriptor(place)?.as_fd())?;
        self.root = Some(tree);
        Ok(())
    }

    /// The root filesystem, or `/` for a process that joined a container.
    pub(super) fn root_or_slash(&mut self) -> Result<BorrowedFd<'_>, Failure> {
        if self.root.is_none() {
            self.root = Some(path_descriptor("/".as_ref())?);
        }
        self.root()
    }

    pub(super) fn root(&self) -> Result<BorrowedFd<'_>, Failure> {
        self.root
            .as_ref()
            .map(AsFd::as_fd)
            .ok_or_else(|| Failure::new(Errno::INVAL, "the plan has no root filesystem yet"))
    }

    pub(super) fn make_root_read_only(&self) -> Result<(), Failure> {
        Ok(mount::set_attributes(self.root()?, attribute::READ_ONLY, 0, 0, false)?)
    }

    pub(super) fn pivot(&mut self) -> Result<(), Failure> {
        mount::pivot(self.root()?)?;
        (self.root, self.empty) = (None, None);
        Ok(())
    }

    pub(super) fn move_root(&mut self) -> Result<(), Failure> {
        mount::move_to_root(self.root()?)?;
        (self.root, self.empty) = (None, None);
        Ok(())
    }
}

pub(super) fn path_descriptor(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

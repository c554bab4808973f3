//! Device nodes in the container's /dev.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid};
use sys::Errno;
use sys::rooted::{self, Links, Missing};

use super::{Child, Failure};
use crate::plan::{Access, DeviceNode};

impl Child {
    pub(super) fn make_device(&self, device: &DeviceNode) -> Result<(), Failure> {
        match device.access {
            Access::Bind => self.bind_device(device),
            Access::Make => match self.make_node(device) {
                // Without the right to make nodes (a user namespace around us) the host's own node serves.
                Err(Failure { errno: Errno::PERM, .. }) => self.bind_device(device),
                result => result,
            },
        }
    }

    fn make_node(&self, device: &DeviceNode) -> Result<(), Failure> {
        let (directory, name) = rooted::parent_and_name(self.root()?, &device.target)?;
        let made = rustix::fs::mknodat(
            &directory,
            &name,
            FileType::from_raw_mode(device.mode),
            Mode::from_raw_mode(device.mode & 0o7777),
            rustix::fs::makedev(device.major, device.minor),
        );
        match made {
            Ok(()) => {}
            // The image's own node of that name stays as it is: /dev is not ours then.
            Err(Errno::EXIST) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
        if (device.uid, device.gid) != (0, 0) {
            let owner = (Some(Uid::from_raw(device.uid)), Some(Gid::from_raw(device.gid)));
            rustix::fs::chownat(directory, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    fn bind_device(&self, device: &DeviceNode) -> Result<(), Failure> {
        let target = &device.target;
        let tree = sys::mount::clone_tree(&Path::new("/").join(target), false)?;
        if !is_device(tree.as_fd(), device)? {
            let what = format!("the host's `{}` is not the device of that number", target.display());
            return Err(Failure::new(Errno::NODEV, what));
        }
        let target = rooted::locate_or_make(self.root()?, target, Missing::File(0o666), Links::Refuse)?;
        Ok(sys::mount::attach(tree.as_fd(), target.as_fd())?)
    }
}

/// The same path may be another device on the host, or a file: the numbers decide, not the name.
fn is_device(node: BorrowedFd<'_>, device: &DeviceNode) -> Result<bool, Errno> {
    let found = rustix::fs::fstat(node)?;
    let kind = FileType::from_raw_mode(device.mode);
    // A FIFO has no numbers.
    let same = kind == FileType::Fifo || found.st_rdev == rustix::fs::makedev(device.major, device.minor);
    Ok(same && FileType::from_raw_mode(found.st_mode) == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_device_of_the_numbers_is_bound() {
        let check = |path: &str, mode: u32, major: u32, minor: u32, expect: bool| {
            let node = rustix::fs::open(path, rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
            let device =
                DeviceNode { target: path.into(), mode, major, minor, uid: 0, gid: 0, access: Access::Bind };
            assert_eq!(is_device(node.as_fd(), &device), Ok(expect), "{path} {mode:o} {major}:{minor}");
        };
        const CHARACTER: u32 = 0o020_666;
        const BLOCK: u32 = 0o060_660;
        check("/dev/null", CHARACTER, 1, 3, true);
        check("/dev/null", CHARACTER, 1, 5, false);
        check("/dev/null", BLOCK, 1, 3, false);
        check("/proc/version", CHARACTER, 0, 0, false);
    }
}

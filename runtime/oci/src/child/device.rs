//! Device nodes in the container's /dev.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid};
use sys::Errno;
use sys::rooted::{self, Links, Missing};

use super::{Child, Failure};
use crate::plan::{Access, DeviceNode};

impl Child {
    pub(super) fn make_device(&self, device: &DeviceNode) -> Result<(), Failure> {
        match device.access {
            Access::Bind => self.bind_device(&device.target),
            Access::Make => match self.make_node(device) {
                // Without the right to make nodes (a user namespace around us) the host's own node serves.
                Err(Failure { errno: Errno::PERM, .. }) => self.bind_device(&device.target),
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

    fn bind_device(&self, target: &Path) -> Result<(), Failure> {
        let tree = sys::mount::clone_tree(&Path::new("/").join(target), false)?;
        let target = rooted::locate_or_make(self.root()?, target, Missing::File(0o666), Links::Refuse)?;
        Ok(sys::mount::attach(tree.as_fd(), target.as_fd())?)
    }
}

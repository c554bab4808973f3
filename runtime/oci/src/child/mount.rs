//! Mounts, directories, links, hidden and read-only paths inside the root, all through its descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::FileType;
use sys::Errno;
use sys::mount::{self, attribute};
use sys::rooted::{self, Links, Missing};

use super::{Child, Failure, root};
use crate::plan::{Mount, MountKind, TargetRule};

mod copy_up;

/// `makedev(1, 3)`.
const NULL_DEVICE: u64 = 0x103;

impl Child {
    pub(super) fn mount(&mut self, mount: &Mount) -> Result<(), Failure> {
        let given = mount.id_map.is_some() || self.own_ids;
        let mapped = match &mount.kind {
            MountKind::Layers { .. } => Some(self.id_mapped.pop_front().ok_or(Errno::BADF)?),
            MountKind::Bind { .. } if given => Some(self.id_mapped.pop_front().ok_or(Errno::BADF)?),
            _ => None,
        };
        let root = self.root()?;
        match &mount.kind {
            MountKind::Bind { source, recursive } => bind(root, mount, source, *recursive, mapped),
            MountKind::Layers { sub_path, .. } => bind(root, mount, sub_path, false, mapped),
            MountKind::Filesystem { name, source, options } => {
                let target = target(root, mount, Missing::Directory(0o755))?;
                match mount::new_filesystem(name, source, options, mount.attributes.set) {
                    Ok(tree) => {
                        if mount.copy_up {
                            copy_up::copy(root, &mount.target, tree.as_fd())?;
                        }
                        mount::attach(tree.as_fd(), target.as_fd())?;
                        change_propagation(tree.as_fd(), &mount.propagation)
                    }
                    Err(error) if error.errno == Errno::NOSYS => Ok(mount::legacy_filesystem(
                        name,
                        source,
                        options,
                        mount.attributes.set,
                        target.as_fd(),
                    )?),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    pub(super) fn make_directory(&self, target: &Path, mode: u32) -> Result<(), Failure> {
        rooted::locate_or_make(self.root()?, target, Missing::Directory(mode), Links::Follow)?;
        Ok(())
    }

    pub(super) fn make_link(&self, target: &Path, to: &Path) -> Result<(), Failure> {
        let (directory, name) = rooted::parent_and_name(self.root()?, target)?;
        match rustix::fs::symlinkat(to, directory, name) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Hides a file behind the null device and a directory behind an empty read-only tmpfs.
    pub(super) fn mask(&mut self, target: &Path) -> Result<(), Failure> {
        let Some(target) = located(self.root()?, target)? else { return Ok(()) };
        if rooted::file_type(&target)? != FileType::Directory {
            return Ok(mount::attach(null_device()?.as_fd(), target.as_fd())?);
        }
        // One file system for all of them: making one costs more than all the rest of a mount.
        let cover = match &self.empty {
            Some(first) => mount::clone_descriptor(first.as_fd(), false)?,
            None => empty_directory()?,
        };
        mount::attach(cover.as_fd(), target.as_fd())?;
        self.empty.get_or_insert(cover);
        Ok(())
    }

    pub(super) fn make_read_only(&self, target: &Path) -> Result<(), Failure> {
        let Some(target) = located(self.root()?, target)? else { return Ok(()) };
        let tree = mount::clone_descriptor(target.as_fd(), true)?;
        mount::set_attributes(tree.as_fd(), attribute::READ_ONLY, 0, 0, true)?;
        Ok(mount::attach(tree.as_fd(), target.as_fd())?)
    }
}

impl Child {
    pub(super) fn seal(&self, target: &Path) -> Result<(), Failure> {
        let mounted = rooted::locate(self.root()?, target, Links::Refuse)?;
        Ok(mount::set_attributes(mounted.as_fd(), attribute::READ_ONLY, 0, 0, false)?)
    }
}

fn bind(
    root: BorrowedFd<'_>,
    mount: &Mount,
    source: &Path,
    recursive: bool,
    mapped: Option<OwnedFd>,
) -> Result<(), Failure> {
    let tree = match mapped.map_or_else(|| mount::clone_tree(source, recursive), Ok) {
        Err(Errno::NOSYS) => return legacy_bind(root, mount, source, recursive),
        result => {
            result.map_err(|errno| Failure::new(errno, format!("source `{}`: {errno}", source.display())))?
        }
    };
    let target = target(root, mount, missing_like(&tree)?)?;
    if mount.attributes.set | mount.attributes.clear != 0 {
        mount::set_attributes(tree.as_fd(), mount.attributes.set, mount.attributes.clear, 0, false)?;
    }
    if mount.recursive.set | mount.recursive.clear != 0 {
        mount::set_attributes(tree.as_fd(), mount.recursive.set, mount.recursive.clear, 0, true)?;
    }
    mount::attach(tree.as_fd(), target.as_fd())?;
    change_propagation(tree.as_fd(), &mount.propagation)
}

fn legacy_bind(root: BorrowedFd<'_>, mount: &Mount, source: &Path, recursive: bool) -> Result<(), Failure> {
    let target = target(root, mount, missing_like(root::path_descriptor(source)?)?)?;
    Ok(mount::legacy_bind(source, recursive, mount.attributes.set, target.as_fd())?)
}

/// A mount's target, made when missing and checked against the rule.
fn target(root: BorrowedFd<'_>, mount: &Mount, missing: Missing) -> Result<OwnedFd, Failure> {
    let links = if mount.rule == TargetRule::Strict { Links::Refuse } else { Links::Follow };
    let target =
        rooted::locate_or_make(root, &mount.target, missing, links).map_err(|errno| match errno {
            Errno::LOOP => Failure::new(
                errno,
                "a component of the target is a symbolic link; the image is hostile or broken",
            ),
            errno => errno.into(),
        })?;
    // A link in the image could have led onto procfs, where covering a file would disarm what masks it.
    if mount.rule == TargetRule::Follow && mount::filesystem_magic(&target)? == mount::PROC_MAGIC {
        return Err(Failure::new(Errno::PERM, "the target is on procfs"));
    }
    Ok(target)
}

fn missing_like(source: impl AsFd) -> Result<Missing, Errno> {
    Ok(match rooted::file_type(source)? {
        FileType::Directory => Missing::Directory(0o755),
        _ => Missing::File(0o755),
    })
}

fn change_propagation(tree: BorrowedFd<'_>, changes: &[u32]) -> Result<(), Failure> {
    /// `MS_REC`.
    const RECURSIVE: u32 = 1 << 14;
    for change in changes {
        mount::set_attributes(tree, 0, 0, change & !RECURSIVE, change & RECURSIVE != 0)?;
    }
    Ok(())
}

/// A path that may be missing: kernels differ in what procfs and sysfs have.
fn located(root: BorrowedFd<'_>, target: &Path) -> Result<Option<OwnedFd>, Failure> {
    match rooted::locate(root, target, Links::Follow) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn empty_directory() -> Result<OwnedFd, Failure> {
    let options =
        [("nr_inodes".to_owned(), Some("1".to_owned())), ("mode".to_owned(), Some("0555".to_owned()))];
    Ok(mount::new_filesystem("tmpfs", "tmpfs", &options, attribute::READ_ONLY)?)
}

/// The host's null device, checked, because a container's could be anything.
fn null_device() -> Result<OwnedFd, Failure> {
    let tree = mount::clone_tree("/dev/null".as_ref(), false)?;
    let stat = rustix::fs::fstat(&tree)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == NULL_DEVICE {
        return Ok(tree);
    }
    Err(Failure::new(Errno::NODEV, "the host's /dev/null is not the null device"))
}

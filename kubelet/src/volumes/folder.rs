//! The folder of a volume: on disk, in memory, or of huge pages.
//!
//! What is there already, and is what it should be, stays as it is: a container may be writing to it.
//!
//! Reference: tmpfs(5), `noswap` since Linux 6.4; hugetlbfs.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use api::quantity::Quantity;
use rustix::fs::{Mode, OFlags};
use sys::mount;

/// What a folder lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    Disk,
    Memory {
        /// Bytes; 0 for half of the machine's memory.
        size: i64,
        /// Must not reach a disk.
        secret: bool,
    },
    /// `2Mi`; empty for the machine's default.
    HugePages(String),
}

/// What a folder is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    pub path: PathBuf,
    pub backing: Backing,
    pub mode: u32,
    /// Owns it, and what is made in it.
    pub group: Option<u32>,
}

/// What could not be done, and to what.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}: {why}", path.display())]
pub struct FolderError {
    what: &'static str,
    path: PathBuf,
    why: String,
}

impl Folder {
    /// Makes it, or finds it made. The last step is what makes it seen: a folder is never there half-made.
    pub fn make(&self) -> Result<(), FolderError> {
        let path = &self.path;
        if path.is_dir() && (self.backing == Backing::Disk || is_mounted(path)) {
            return Ok(());
        }
        match &self.backing {
            Backing::Disk => self.make_on_disk(),
            Backing::Memory { size, secret } => {
                self.make_point()?;
                self.attach(self.memory(*size, *secret))
            }
            Backing::HugePages(size) => {
                self.make_point()?;
                let page = Quantity::parse(size)
                    .ok()
                    .map(|size| ("pagesize".into(), Some(size.units().to_string())));
                let options: Vec<_> = page.into_iter().chain(self.ownership()).collect();
                self.attach(mount::new_filesystem("hugetlbfs", "nodev", &options, 0))
            }
        }
    }

    fn mode(&self) -> u32 {
        if self.group.is_some() { self.mode | 0o2070 } else { self.mode }
    }

    fn make_on_disk(&self) -> Result<(), FolderError> {
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Err(self.failed("creating", "it has no parent"));
        };
        fs::create_dir_all(parent).map_err(|error| self.failed("creating the parent of", error))?;
        // No volume has such a name.
        let unseen = parent.join(format!("..{}", name.to_string_lossy()));
        if !unseen.is_dir() {
            fs::create_dir(&unseen).map_err(|error| self.failed("creating", error))?;
        }
        // Owner before mode: changing the owner may clear the set-group-id bit.
        chown(&unseen, None, self.group).map_err(|error| self.failed("changing the group of", error))?;
        fs::set_permissions(&unseen, fs::Permissions::from_mode(self.mode()))
            .map_err(|error| self.failed("setting the mode of", error))?;
        fs::rename(&unseen, &self.path).map_err(|error| self.failed("creating", error))
    }

    fn make_point(&self) -> Result<(), FolderError> {
        fs::create_dir_all(&self.path).map_err(|error| self.failed("creating", error))
    }

    fn ownership(&self) -> Vec<(String, Option<String>)> {
        let group = self.group.map(|group| ("gid".to_owned(), Some(group.to_string())));
        std::iter::once(("mode".to_owned(), Some(format!("{:o}", self.mode())))).chain(group).collect()
    }

    fn memory(&self, size: i64, secret: bool) -> Result<OwnedFd, mount::FilesystemError> {
        let mut options = self.ownership();
        if size > 0 {
            options.push(("size".to_owned(), Some(size.to_string())));
        }
        if !secret {
            return mount::new_filesystem("tmpfs", "tmpfs", &options, 0);
        }
        let attributes = mount::attribute::NO_SUID | mount::attribute::NO_DEV;
        let mut unswapped = options.clone();
        unswapped.push(("noswap".to_owned(), None));
        mount::new_filesystem("tmpfs", "tmpfs", &unswapped, attributes)
            .or_else(|_| mount::new_filesystem("tmpfs", "tmpfs", &options, attributes))
    }

    fn attach(&self, tree: Result<std::os::fd::OwnedFd, mount::FilesystemError>) -> Result<(), FolderError> {
        let tree = tree.map_err(|error| self.failed("making a filesystem for", error))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::open(&self.path, flags, Mode::empty())
            .map_err(|error| self.failed("opening", error))?;
        mount::attach(tree.as_fd(), target.as_fd()).map_err(|error| self.failed("mounting", error))
    }

    fn failed(&self, what: &'static str, why: impl ToString) -> FolderError {
        FolderError { what, path: self.path.clone(), why: why.to_string() }
    }
}

/// Whether something is mounted exactly here.
pub fn is_mounted(path: &Path) -> bool {
    let whole: io::Result<PathBuf> = fs::canonicalize(path);
    whole.is_ok_and(|whole| mount::mount_point_of(&whole).as_ref() == Some(&whole))
}

//! The folder of a volume: on disk, in memory, or of huge pages.
//!
//! What is there already, and is what it should be, stays as it is: a container may be writing to it.
//!
//! Reference: tmpfs(5), `noswap` since Linux 6.4; hugetlbfs.

use std::fs;
use std::io;
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
    /// Makes it, or finds it made.
    pub fn make(&self) -> Result<(), FolderError> {
        let path = &self.path;
        let there = path.is_dir();
        if there && (self.backing == Backing::Disk || is_mounted(path)) {
            return Ok(());
        }
        fs::create_dir_all(path).map_err(|error| self.failed("creating", error))?;
        match &self.backing {
            Backing::Disk => {}
            Backing::Memory { size, secret } => self.mount_memory(*size, *secret)?,
            Backing::HugePages(size) => self.mount_huge_pages(size)?,
        }
        let mode = match self.group {
            // Owner before mode: changing the owner may clear the set-group-id bit.
            Some(group) => {
                chown(path, None, Some(group))
                    .map_err(|error| self.failed("changing the group of", error))?;
                self.mode | 0o2070
            }
            None => self.mode,
        };
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(|error| self.failed("setting the mode of", error))
    }

    fn mount_memory(&self, size: i64, secret: bool) -> Result<(), FolderError> {
        let mut options = Vec::new();
        if size > 0 {
            options.push(("size".to_owned(), Some(size.to_string())));
        }
        let attributes = if secret { mount::attribute::NO_SUID | mount::attribute::NO_DEV } else { 0 };
        let mut more = options.clone();
        more.push(("noswap".to_owned(), None));
        let made = match secret {
            true => mount::new_filesystem("tmpfs", "tmpfs", &more, attributes)
                .or_else(|_| mount::new_filesystem("tmpfs", "tmpfs", &options, attributes)),
            false => mount::new_filesystem("tmpfs", "tmpfs", &options, attributes),
        };
        self.attach(made)
    }

    fn mount_huge_pages(&self, size: &str) -> Result<(), FolderError> {
        let options = match Quantity::parse(size) {
            Ok(size) => vec![("pagesize".to_owned(), Some(size.units().to_string()))],
            Err(_) => Vec::new(),
        };
        self.attach(mount::new_filesystem("hugetlbfs", "nodev", &options, 0))
    }

    fn attach(&self, tree: Result<std::os::fd::OwnedFd, mount::FilesystemError>) -> Result<(), FolderError> {
        use std::os::fd::AsFd as _;
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

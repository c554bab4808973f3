//! Control groups: one path in every hierarchy of the host, held by descriptors.
//!
//! ```text
//! v2 (default)   <cgroup2>/kubepods/pod1/c1
//! v1 and hybrid  <cgroup2>/kubepods/pod1/c1          kill, freeze, events, BPF: always here
//!                /sys/fs/cgroup/memory/kubepods/pod1/c1 ...     limits of the controllers mounted there
//! ```
//!
//! A container is in the cgroup2 tree on every host that has one mounted, so cgroup.kill, cgroup.freeze,
//! cgroup.events and cgroup BPF need one code path. This room moves processes and directories; which value
//! goes into which file is decided above it.
//!
//! **Invariants**
//! - Paths are resolved below the hierarchy's mount without following links or crossing mounts.
//! - A directory is emptied and removed through descriptors, never by a path that was looked up twice.
//! - Every wait is for an event and has an end; only pure v1, which has no event, retries with a pause.
//!
//! Reference: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.

mod create;
mod events;
mod kill;
mod layout;
mod remove;
mod warm;

pub use create::{Step, plan_create};
pub use events::{Interest, OomEvents, Population, PopulationEvents};
pub use layout::{Hierarchy, Layout, Mode, Version};

use rustix::fs::{self, Mode as FileMode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

/// Longest control file that [`Cgroup::read`] takes: memory.stat has some 2 KiB, io.stat 100 bytes a disk.
const MAX_FILE: usize = 256 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("cgroup path {0:?} is not usable: it needs at least one component and none may be . or ..")]
    Path(String),
    #[error("no cgroup hierarchy is mounted on this host; mount cgroup2 on /sys/fs/cgroup")]
    NoHierarchy,
    #[error("cannot read {0}")]
    Detect(PathBuf, #[source] io::Error),
    #[error("cgroup {0} does not exist in any hierarchy")]
    Missing(String),
    #[error("cannot {action} cgroup {path}")]
    Directory { action: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "cannot enable controllers {controllers} for the children of cgroup {path}, because it has processes of its own; move them to a child first"
    )]
    InternalProcess { path: PathBuf, controllers: String },
    #[error("cannot read {file} of cgroup {path}")]
    Read { path: PathBuf, file: String, source: io::Error },
    #[error("cannot write {value:?} to {file} of cgroup {path}")]
    Write { path: PathBuf, file: String, value: String, source: io::Error },
    #[error("cgroup controller {controller} is not available: {why}")]
    Controller { controller: String, why: String },
    #[error("cgroup {path} still has processes after {seconds} s: {pids:?}")]
    Busy { path: PathBuf, seconds: u64, pids: Vec<i32> },
    #[error("cgroup {path} did not become {state} within {seconds} s")]
    Freeze { path: PathBuf, state: &'static str, seconds: u64 },
    #[error("cannot wait for events of cgroup {path}")]
    Events { path: PathBuf, source: io::Error },
    #[error("cannot signal process {pid} in cgroup {path}")]
    Signal { path: PathBuf, pid: i32, source: io::Error },
}

/// One path in every hierarchy where it exists.
#[derive(Debug)]
pub struct Cgroup {
    layout: Arc<Layout>,
    /// Without a leading slash.
    path: String,
    /// By hierarchy, in the layout's order.
    directories: Vec<Option<OwnedFd>>,
}

impl Cgroup {
    /// Makes the path in every hierarchy, with parents, controllers enabled on the way; one that exists is
    /// taken as it is. When a step fails, what this call made is removed again.
    pub fn create(layout: &Layout, path: &str) -> Result<Cgroup, CgroupError> {
        create::create(layout, path, |_| Ok(()))
    }

    /// The path where it exists now; missing everywhere is an error.
    pub fn open(layout: &Layout, path: &str) -> Result<Cgroup, CgroupError> {
        let layout = Arc::new(layout.clone());
        let path = normal_path(path)?;
        let mut directories = Vec::with_capacity(layout.hierarchies.len());
        for hierarchy in &layout.hierarchies {
            let opened = match open_directory(hierarchy, &path) {
                Ok(directory) => Some(directory),
                Err(Errno::NOENT) => None,
                Err(errno) => return Err(directory_error("open", hierarchy, &path, errno)),
            };
            directories.push(opened);
        }
        if directories.iter().all(Option::is_none) {
            return Err(CgroupError::Missing(path));
        }
        Ok(Cgroup { layout, path, directories })
    }

    /// The path below each hierarchy's mount, without a leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The directory in the cgroup2 tree, for CLONE_INTO_CGROUP and BPF; None where no cgroup2 is mounted.
    pub fn v2_dir(&self) -> Result<Option<OwnedFd>, CgroupError> {
        let Some((index, directory)) = self.v2() else { return Ok(None) };
        let copy = directory.try_clone_to_owned();
        copy.map(Some).map_err(|source| CgroupError::Directory {
            action: "duplicate the descriptor of",
            path: self.full_path(index),
            source,
        })
    }

    /// Files a process writes `0` to in order to enter the v1 hierarchies, where CLONE_INTO_CGROUP does not reach.
    pub fn v1_procs(&self) -> Vec<PathBuf> {
        let exists =
            |(index, _): &(usize, BorrowedFd<'_>)| self.layout.hierarchies[*index].version == Version::V1;
        self.existing().filter(exists).map(|(index, _)| self.full_path(index).join("cgroup.procs")).collect()
    }

    /// Moves a process with all its threads here in every hierarchy.
    pub fn add(&self, pid: i32) -> Result<(), CgroupError> {
        self.existing().try_for_each(|(index, _)| self.write_in(index, "cgroup.procs", &pid.to_string()))
    }

    /// Where a controller's files for this cgroup are; None when it is mounted nowhere or not enabled here.
    pub fn controller(&self, name: &str) -> Option<(Version, BorrowedFd<'_>)> {
        let index = self.layout.home(name)?;
        let directory = self.directories[index].as_ref()?;
        Some((self.layout.hierarchies[index].version, directory.as_fd()))
    }

    /// The cgroup2 directory, borrowed.
    pub fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.v2().map(|(_, directory)| directory)
    }

    /// A control file of the hierarchy that has the controller. The file is looked up in the open directory.
    pub fn read(&self, controller: &str, file: &str) -> Result<String, CgroupError> {
        let index = self.home_of(controller)?;
        self.read_in(index, file)
    }

    /// Writes a control file in one write call.
    pub fn write(&self, controller: &str, file: &str, value: &str) -> Result<(), CgroupError> {
        let index = self.home_of(controller)?;
        self.write_in(index, file, value)
    }

    /// Whether a control file exists.
    pub fn has(&self, controller: &str, file: &str) -> bool {
        let found = self
            .controller(controller)
            .map(|(_, directory)| fs::statat(directory, file, fs::AtFlags::empty()));
        matches!(found, Some(Ok(_)))
    }

    /// A control file opened for repeated reading; None where the controller or the file does not exist.
    pub fn file(&self, controller: &str, file: &str) -> Result<Option<OwnedFd>, CgroupError> {
        let home = self.layout.home(controller).filter(|index| self.directories[*index].is_some());
        home.map_or(Ok(None), |index| self.file_in(index, file))
    }

    /// As [`Cgroup::file`], in the cgroup2 tree: its pressure files are there whoever owns the controllers.
    pub fn unified_file(&self, file: &str) -> Result<Option<OwnedFd>, CgroupError> {
        self.v2().map_or(Ok(None), |(index, _)| self.file_in(index, file))
    }

    // === inside the room ===

    fn file_in(&self, index: usize, file: &str) -> Result<Option<OwnedFd>, CgroupError> {
        let Some(directory) = &self.directories[index] else { return Ok(None) };
        match open_file(directory.as_fd(), file, OFlags::RDONLY) {
            Ok(opened) => Ok(Some(opened)),
            // EOPNOTSUPP: pressure stall information is switched off.
            Err(Errno::NOENT | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(CgroupError::Read {
                path: self.full_path(index),
                file: file.to_owned(),
                source: errno.into(),
            }),
        }
    }

    fn v2(&self) -> Option<(usize, BorrowedFd<'_>)> {
        self.existing().find(|(index, _)| self.layout.hierarchies[*index].version == Version::V2)
    }

    fn existing(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        self.directories.iter().enumerate().filter_map(|(index, held)| Some((index, held.as_ref()?.as_fd())))
    }

    fn full_path(&self, index: usize) -> PathBuf {
        self.layout.hierarchies[index].mount.join(&self.path)
    }

    fn home_of(&self, controller: &str) -> Result<usize, CgroupError> {
        let missing = |why| CgroupError::Controller { controller: controller.to_owned(), why };
        let index =
            self.layout.home(controller).ok_or_else(|| missing(self.layout.why_missing(controller)))?;
        match self.directories[index] {
            Some(_) => Ok(index),
            None => Err(missing(format!("{} does not exist", self.full_path(index).display()))),
        }
    }

    fn read_in(&self, index: usize, file: &str) -> Result<String, CgroupError> {
        let failed =
            |source| CgroupError::Read { path: self.full_path(index), file: file.to_owned(), source };
        let Some(directory) = &self.directories[index] else { return Err(failed(Errno::NOENT.into())) };
        read_at(directory.as_fd(), file).map_err(failed)
    }

    fn write_in(&self, index: usize, file: &str, value: &str) -> Result<(), CgroupError> {
        let failed = |errno: Errno| CgroupError::Write {
            path: self.full_path(index),
            file: file.to_owned(),
            value: value.to_owned(),
            source: errno.into(),
        };
        let Some(directory) = &self.directories[index] else { return Err(failed(Errno::NOENT)) };
        write_at(directory.as_fd(), file, value).map_err(failed)
    }
}

/// A path's components joined by single slashes; `..`, `.` and nothing at all are refused.
fn normal_path(path: &str) -> Result<String, CgroupError> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() || parts.iter().any(|part| matches!(*part, "." | "..")) || path.contains('\0') {
        return Err(CgroupError::Path(path.to_owned()));
    }
    Ok(parts.join("/"))
}

/// Opens `path` below the hierarchy's mount; the empty path is the mount itself.
fn open_directory(hierarchy: &Hierarchy, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = fs::open(&hierarchy.mount, flags, FileMode::empty())?;
    if path.is_empty() {
        return Ok(root);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    fs::openat2(root, path, flags, FileMode::empty(), resolve)
}

fn open_file(directory: BorrowedFd<'_>, file: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    fs::openat(directory, file, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, FileMode::empty())
}

fn read_at(directory: BorrowedFd<'_>, file: &str) -> io::Result<String> {
    use io::Read;
    let opened = std::fs::File::from(open_file(directory, file, OFlags::RDONLY)?);
    let mut text = String::new();
    opened.take(MAX_FILE as u64).read_to_string(&mut text)?;
    Ok(text)
}

fn write_at(directory: BorrowedFd<'_>, file: &str, value: &str) -> Result<(), Errno> {
    let opened = open_file(directory, file, OFlags::WRONLY)?;
    // A control file parses each write call on its own, so a short write would be a wrong value.
    let written = rustix::io::retry_on_intr(|| rustix::io::write(&opened, value.as_bytes()))?;
    if written == value.len() { Ok(()) } else { Err(Errno::IO) }
}

fn directory_error(action: &'static str, hierarchy: &Hierarchy, path: &str, errno: Errno) -> CgroupError {
    CgroupError::Directory { action, path: hierarchy.mount.join(path), source: errno.into() }
}

#[cfg(test)]
mod tests;

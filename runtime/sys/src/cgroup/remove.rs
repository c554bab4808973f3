//! Removing a path from every hierarchy, children first. Asking again for what is gone is fine.
//!
//! Nobody is killed here: whoever wants that calls [`Cgroup::kill`] first. A process leaves its v1 cgroups
//! at the same moment as its cgroup2 one, so one event covers all trees.

use super::events::{gone, pause};
use super::kill::{MAX_DEPTH, children};
use super::{Cgroup, CgroupError, Hierarchy, Layout, normal_path, open_directory, open_file};
use rustix::fs::{self, AtFlags, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// How long [`Cgroup::delete`] waits for the last process.
pub const DELETE_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two tries where no event tells of the end: a process that is in a v1 tree only.
const V1_PAUSE: Duration = Duration::from_millis(10);

impl Cgroup {
    /// Waits for the last process to leave, bounded, then removes the cgroup and all below it everywhere.
    pub fn delete(&self) -> Result<(), CgroupError> {
        self.delete_within(DELETE_TIMEOUT)
    }

    /// As [`Cgroup::delete`], with the longest wait given.
    pub fn delete_within(&self, limit: Duration) -> Result<(), CgroupError> {
        let deadline = Instant::now() + limit;
        let left_alive = match self.populated_events() {
            Ok(Some(events)) => !events.wait(limit, |now| !now.populated)?,
            // Gone or never there in the cgroup2 tree; the v1 ones answer for themselves.
            Ok(None) | Err(CgroupError::Events { .. }) => false,
            Err(error) => return Err(error),
        };
        if left_alive {
            return Err(self.busy(limit));
        }
        // Every tree is tried even if one fails: what can go, goes.
        let mut first = None;
        for hierarchy in &self.layout.hierarchies {
            if let Err(error) = self.remove_from(hierarchy, deadline, limit) {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Removes the cgroup everywhere if no process and no cgroup is in it. False: something is, and it may be gone from some
    /// trees already.
    pub fn delete_if_empty(&self) -> Result<bool, CgroupError> {
        let (parent, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        for hierarchy in &self.layout.hierarchies {
            let removed = open_directory(hierarchy, parent).and_then(|dir| remove_one(dir.as_fd(), name));
            match removed {
                Ok(()) | Err(Errno::NOENT | Errno::NODEV) => {}
                Err(Errno::BUSY | Errno::NOTEMPTY) => return Ok(false),
                Err(errno) => {
                    let path = hierarchy.mount.join(&self.path);
                    return Err(CgroupError::Directory { action: "remove", path, source: errno.into() });
                }
            }
        }
        Ok(true)
    }

    fn remove_from(
        &self,
        hierarchy: &Hierarchy,
        deadline: Instant,
        limit: Duration,
    ) -> Result<(), CgroupError> {
        loop {
            match remove(hierarchy, &self.path) {
                Ok(()) => return Ok(()),
                Err(error) if error.raw_os_error() != Some(libc::EBUSY) => {
                    let path = hierarchy.mount.join(&self.path);
                    return Err(CgroupError::Directory { action: "remove", path, source: error });
                }
                Err(_) if Instant::now() >= deadline => return Err(self.busy(limit)),
                Err(_) => pause(V1_PAUSE),
            }
        }
    }

    fn busy(&self, limit: Duration) -> CgroupError {
        let pids = self.pids().unwrap_or_default();
        CgroupError::Busy { path: self.path.clone().into(), seconds: limit.as_secs(), pids }
    }
}

impl Layout {
    /// [`Cgroup::delete`] for a path that may not exist any more, in any hierarchy.
    pub fn delete(&self, path: &str) -> Result<(), CgroupError> {
        match Cgroup::open(self, path) {
            Ok(cgroup) => cgroup.delete(),
            Err(CgroupError::Missing(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes the parents of a deleted path, nearest first, up to the first that is still in use.
    pub fn prune_parents(&self, path: &str) -> Result<(), CgroupError> {
        let path = normal_path(path)?;
        for hierarchy in &self.hierarchies {
            let mut child = path.as_str();
            while let Some((parent, _)) = child.rsplit_once('/') {
                let (above, name) = parent.rsplit_once('/').unwrap_or(("", parent));
                let removed = open_directory(hierarchy, above).and_then(|dir| remove_one(dir.as_fd(), name));
                match removed {
                    Ok(()) | Err(Errno::NOENT) => child = parent,
                    Err(_) => break,
                }
            }
        }
        Ok(())
    }
}

fn remove(hierarchy: &Hierarchy, path: &str) -> io::Result<()> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    match open_directory(hierarchy, parent) {
        Ok(parent) => remove_tree(parent.as_fd(), name, 0),
        Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// rmdir first: most cgroups have no children, and then one call is all.
fn remove_tree(parent: BorrowedFd<'_>, name: &str, depth: usize) -> io::Result<()> {
    match remove_one(parent, name) {
        Ok(()) => return Ok(()),
        // Children or processes: the kernel says EBUSY for both (ENOTEMPTY on some v1 trees).
        Err(Errno::BUSY | Errno::NOTEMPTY) if depth < MAX_DEPTH => {}
        Err(errno) => return Err(errno.into()),
    }
    let directory = match open_file(parent, name, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(directory) => directory,
        Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let below = match children(directory.as_fd()) {
        Err(error) if gone(&error) => Vec::new(),
        other => other?,
    };
    for child in below {
        remove_tree(directory.as_fd(), &child, depth + 1)?;
    }
    remove_one(parent, name).map_err(io::Error::from)
}

fn remove_one(parent: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    match fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        Err(errno) => Err(errno),
    }
}

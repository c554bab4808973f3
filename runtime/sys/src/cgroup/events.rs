//! Descriptors to wait on: who is left in a cgroup, and whether the OOM killer struck.
//!
//! kernfs wakes pollers of `*.events` files with POLLPRI until the file is read again; v1 has an eventfd
//! instead, readable. [`Interest`] tells an event loop which of the two to ask for.

use super::{Cgroup, CgroupError, Version, open_file};
use rustix::event::{self, EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Events files are a handful of short lines.
const EVENTS_BUFFER: usize = 1024;

/// What to ask epoll for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// EPOLLPRI, a v2 events file.
    Priority,
    /// EPOLLIN, a v1 eventfd.
    Readable,
}

/// What cgroup.events says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Population {
    /// A process lives here or below. A zombie does not count.
    pub populated: bool,
    /// Every process here and below has stopped in the freezer.
    pub frozen: bool,
}

/// cgroup.events of the cgroup2 tree, pollable with [`Interest::Priority`].
#[derive(Debug)]
pub struct PopulationEvents {
    file: OwnedFd,
    path: PathBuf,
}

impl Cgroup {
    /// Watches who is left; None where no cgroup2 is mounted.
    pub fn populated_events(&self) -> Result<Option<PopulationEvents>, CgroupError> {
        let Some((index, directory)) = self.v2() else { return Ok(None) };
        let path = self.full_path(index);
        match open_file(directory, "cgroup.events", OFlags::RDONLY) {
            Ok(file) => Ok(Some(PopulationEvents { file, path })),
            Err(errno) => Err(CgroupError::Events { path, source: errno.into() }),
        }
    }

    /// Whether a process lives here or below; none where that cannot be told: without cgroup2, or when it is gone.
    pub fn is_populated(&self) -> Option<bool> {
        Some(self.populated_events().ok()??.read().ok()?.populated)
    }

    /// How many processes the OOM killer has ended here; none where nobody counts.
    pub fn oom_kills(&self) -> Result<u64, CgroupError> {
        let Some(index) = self.layout.home("memory") else { return Ok(0) };
        let v2 = self.layout.hierarchies[index].version == Version::V2;
        let Some(file) = self.file("memory", if v2 { "memory.events" } else { "memory.oom_control" })? else {
            return Ok(0);
        };
        let mut buffer = [0; EVENTS_BUFFER];
        match read_from_start(&file, &mut buffer) {
            Ok(text) => Ok(field(text, "oom_kill").unwrap_or(0)),
            Err(Errno::NODEV | Errno::NOENT) => Ok(0),
            Err(errno) => Err(CgroupError::Events { path: self.full_path(index), source: errno.into() }),
        }
    }

    /// Watches for OOM kills; the memory controller must be available here.
    pub fn oom_events(&self) -> Result<OomEvents, CgroupError> {
        let index = self.home_of("memory")?;
        let path = self.full_path(index);
        let failed = |errno: Errno| CgroupError::Events { path: path.clone(), source: errno.into() };
        let Some(directory) = &self.directories[index] else { return Err(failed(Errno::NOENT)) };
        if self.layout.hierarchies[index].version == Version::V2 {
            let counter = open_file(directory.as_fd(), "memory.events", OFlags::RDONLY).map_err(failed)?;
            return Ok(OomEvents { counter, wake: None, path });
        }
        let counter = open_file(directory.as_fd(), "memory.oom_control", OFlags::RDONLY).map_err(failed)?;
        let wake = event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?;
        let registration = format!("{} {}", wake.as_raw_fd(), counter.as_raw_fd());
        super::write_at(directory.as_fd(), "cgroup.event_control", &registration).map_err(failed)?;
        Ok(OomEvents { counter, wake: Some(wake), path })
    }
}

impl AsFd for PopulationEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl PopulationEvents {
    /// The state now; arms the descriptor for the next change. A removed cgroup is empty.
    pub fn read(&self) -> Result<Population, CgroupError> {
        let mut buffer = [0; EVENTS_BUFFER];
        match read_from_start(&self.file, &mut buffer) {
            Ok(text) => Ok(Population {
                populated: field(text, "populated").unwrap_or(0) != 0,
                frozen: field(text, "frozen").unwrap_or(0) != 0,
            }),
            Err(Errno::NODEV | Errno::NOENT) => Ok(Population { populated: false, frozen: false }),
            Err(errno) => Err(CgroupError::Events { path: self.path.clone(), source: errno.into() }),
        }
    }

    /// Blocks until `wanted` holds; false when `limit` passed first.
    pub fn wait(&self, limit: Duration, wanted: impl Fn(Population) -> bool) -> Result<bool, CgroupError> {
        let deadline = Instant::now() + limit;
        loop {
            if wanted(self.read()?) {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let mut waiting = [PollFd::new(&self.file, PollFlags::PRI)];
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            match event::poll(&mut waiting, Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => {
                    return Err(CgroupError::Events { path: self.path.clone(), source: errno.into() });
                }
            }
        }
    }
}

/// Wakes when the OOM killer acts in this cgroup; [`OomEvents::kills`] then tells how often it did.
/// On v1 the wake comes just before the kill, so the count belongs to the process's exit, not to the wake.
#[derive(Debug)]
pub struct OomEvents {
    counter: OwnedFd,
    /// v1 only.
    wake: Option<OwnedFd>,
    path: PathBuf,
}

impl AsFd for OomEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_ref().unwrap_or(&self.counter).as_fd()
    }
}

impl OomEvents {
    pub fn interest(&self) -> Interest {
        if self.wake.is_some() { Interest::Readable } else { Interest::Priority }
    }

    /// Processes killed since the cgroup was made; arms the descriptor again. None once the cgroup is gone.
    pub fn kills(&self) -> Result<Option<u64>, CgroupError> {
        if let Some(wake) = &self.wake {
            // EAGAIN: asked without having been woken.
            let _ = rustix::io::read(wake, &mut [0; 8]);
        }
        let mut buffer = [0; EVENTS_BUFFER];
        match read_from_start(&self.counter, &mut buffer) {
            Ok(text) => Ok(Some(field(text, "oom_kill").unwrap_or(0))),
            Err(Errno::NODEV | Errno::NOENT) => Ok(None),
            Err(errno) => Err(CgroupError::Events { path: self.path.clone(), source: errno.into() }),
        }
    }
}

fn read_from_start<'a>(file: &OwnedFd, buffer: &'a mut [u8]) -> Result<&'a str, Errno> {
    let length = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *buffer, 0))?;
    std::str::from_utf8(&buffer[..length]).map_err(|_| Errno::ILSEQ)
}

/// The number after a key at the start of a line.
fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Sleeping is for pure v1 alone, where nothing announces that a cgroup became empty.
pub(super) fn pause(length: Duration) {
    std::thread::sleep(length);
}

pub(super) fn gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn fields_are_whole_words() {
        let text = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        for (key, expect) in [("oom", Some(3)), ("oom_kill", Some(2)), ("max", None), ("lo", None)] {
            assert_eq!(field(text, key), expect, "{key}");
        }
    }
}

//! Everything that acts on the processes of a cgroup and of those below it: list, kill, freeze.

use super::events::{gone, pause};
use super::{Cgroup, CgroupError, Version, open_file, read_at};
use rustix::fs::{Dir, FileType, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Deeper trees than this are not ours.
pub(super) const MAX_DEPTH: usize = 64;
/// How often a v1 cgroup is emptied by signals before we believe that it forks faster than we kill.
const KILL_ROUNDS: usize = 64;
const FREEZE_TIMEOUT: Duration = Duration::from_secs(10);
const V1_PAUSE: Duration = Duration::from_millis(5);

impl Cgroup {
    /// Every process here and below, as this PID namespace numbers them.
    pub fn pids(&self) -> Result<Vec<i32>, CgroupError> {
        // Whoever is in the cgroup2 tree only, or in a v1 tree only (moved by hand, or from before a
        // migration), belongs to us all the same.
        let mut all = BTreeSet::new();
        for (index, directory) in self.existing() {
            collect_pids(directory, 0, &mut all).map_err(|source| CgroupError::Read {
                path: self.full_path(index),
                file: "cgroup.procs".to_owned(),
                source,
            })?;
        }
        Ok(all.into_iter().collect())
    }

    /// SIGKILL to every process here and below, forks in flight included. Does not wait for their end.
    pub fn kill(&self) -> Result<(), CgroupError> {
        if let Some((index, directory)) = self.v2() {
            match super::write_at(directory, "cgroup.kill", "1") {
                // Linux 5.14 and newer have the file; a cgroup that is gone has nobody to kill.
                Ok(()) | Err(Errno::NODEV) => {}
                Err(Errno::NOENT) => return self.kill_one_by_one(),
                Err(errno) => {
                    return Err(CgroupError::Write {
                        path: self.full_path(index),
                        file: "cgroup.kill".to_owned(),
                        value: "1".to_owned(),
                        source: errno.into(),
                    });
                }
            }
        }
        // Whoever is left sits in a v1 tree only. On a hybrid host that list is normally all dying already.
        if self.layout.hierarchies.iter().any(|hierarchy| hierarchy.version == Version::V1) {
            return self.kill_one_by_one();
        }
        Ok(())
    }

    /// Stops every process here and below, and waits until they have stopped.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        self.set_frozen(true)
    }

    /// Lets them run again.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.set_frozen(false)
    }

    fn kill_one_by_one(&self) -> Result<(), CgroupError> {
        let mut signalled = BTreeSet::new();
        for _ in 0..KILL_ROUNDS {
            let pids = self.pids()?;
            let new: Vec<i32> = pids.into_iter().filter(|pid| signalled.insert(*pid)).collect();
            if new.is_empty() {
                return Ok(());
            }
            // A PID may be reused between listing and signalling. A pidfd is not: if the number is still
            // listed after the descriptor was opened, the descriptor is of a process that lives here.
            let opened: Vec<(i32, OwnedFd)> = new.into_iter().filter_map(open_process).collect();
            let still: BTreeSet<i32> = self.pids()?.into_iter().collect();
            for (pid, process) in opened.iter().filter(|(pid, _)| still.contains(pid)) {
                match rustix::process::pidfd_send_signal(process, Signal::KILL) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(errno) => return Err(self.signal_error(*pid, errno)),
                }
            }
        }
        Err(CgroupError::Busy { path: self.full_path(0), seconds: 0, pids: self.pids()? })
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), CgroupError> {
        let state = if frozen { "frozen" } else { "thawed" };
        if let Some(events) = self.populated_events()? {
            let Some((index, _)) = self.v2() else { return Ok(()) };
            self.write_in(index, "cgroup.freeze", if frozen { "1" } else { "0" })?;
            if events.wait(FREEZE_TIMEOUT, |now| now.frozen == frozen || !now.populated)? {
                return Ok(());
            }
            return Err(self.freeze_error(index, state));
        }
        let index = self.home_of("freezer")?;
        let wanted = if frozen { "FROZEN" } else { "THAWED" };
        self.write_in(index, "freezer.state", wanted)?;
        let deadline = Instant::now() + FREEZE_TIMEOUT;
        while self.read_in(index, "freezer.state")?.trim() != wanted {
            if Instant::now() >= deadline {
                return Err(self.freeze_error(index, state));
            }
            pause(V1_PAUSE);
            // v1 forgets tasks that forked while it froze; writing again catches them.
            self.write_in(index, "freezer.state", wanted)?;
        }
        Ok(())
    }

    fn freeze_error(&self, index: usize, state: &'static str) -> CgroupError {
        CgroupError::Freeze { path: self.full_path(index), state, seconds: FREEZE_TIMEOUT.as_secs() }
    }

    fn signal_error(&self, pid: i32, errno: Errno) -> CgroupError {
        CgroupError::Signal { path: self.full_path(0), pid, source: errno.into() }
    }
}

fn open_process(pid: i32) -> Option<(i32, OwnedFd)> {
    let opened = rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    Some((pid, opened))
}

/// Depth first; a cgroup that vanishes meanwhile had nobody left.
pub(super) fn collect_pids(
    directory: BorrowedFd<'_>,
    depth: usize,
    all: &mut BTreeSet<i32>,
) -> io::Result<()> {
    match read_at(directory, "cgroup.procs") {
        // 0 is a process outside our PID namespace: not ours to name.
        Ok(text) => {
            all.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0))
        }
        Err(error) if gone(&error) => return Ok(()),
        // A threaded cgroup lists its processes at the domain above it.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        Err(error) => return Err(error),
    }
    if depth == MAX_DEPTH {
        return Ok(());
    }
    for name in children(directory)? {
        match open_file(directory, &name, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(child) => collect_pids(child.as_fd(), depth + 1, all)?,
            Err(Errno::NOENT | Errno::NODEV) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Names of the cgroups right below.
pub(super) fn children(directory: BorrowedFd<'_>) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = match entry {
            Ok(entry) => entry,
            Err(Errno::NOENT | Errno::NODEV) => break,
            Err(errno) => return Err(errno.into()),
        };
        let name = entry.file_name().to_string_lossy();
        if entry.file_type() == FileType::Directory && !matches!(&*name, "." | "..") {
            names.push(name.into_owned());
        }
    }
    Ok(names)
}

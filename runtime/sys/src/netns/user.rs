//! A user namespace that owns a sandbox's other namespaces.
//!
//! A thread of a process with others cannot enter a user namespace, so a child that does almost nothing is born in
//! all of them; the caller's thread then follows into those it may enter, and pins the user namespace from outside.
//! The child writes sysctls: they know no other master than the namespace's root, and read numbers as its ids.
//!
//! Reference: user_namespaces(7): the namespaces that clone(2) makes together with a user namespace belong to it.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags};

use crate::process::{self, CloneRequest, Cloned};

/// One row of a map: `count` ids from `inside` on are those from `outside` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

/// A user namespace, pinned at `path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub path: PathBuf,
    pub uids: Vec<IdRange>,
    pub gids: Vec<IdRange>,
}

/// Makes the namespaces of `others` under a new user namespace, writes sysctls in them, enters them and pins the user
/// namespace.
pub(super) fn unshare(user: &User, others: CloneFlags, sysctls: &[(PathBuf, String)]) -> io::Result<()> {
    let child = Idle::in_namespaces(CloneFlags::CLONE_NEWUSER | others, sysctls)?;
    write_map(child.pid(), "uid_map", &user.uids)?;
    write_map(child.pid(), "gid_map", &user.gids)?;
    child.write_sysctls(sysctls)?;
    for (kind, flag) in [
        ("net", CloneFlags::CLONE_NEWNET),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("uts", CloneFlags::CLONE_NEWUTS),
    ] {
        if others.contains(flag) {
            nix::sched::setns(File::open(child.namespace(kind))?, flag)?;
        }
    }
    let none = None::<&str>;
    Ok(nix::mount::mount(Some(&child.namespace("user")), &user.path, none, MsFlags::MS_BIND, none)?)
}

/// A user namespace with these maps that lives as long as the descriptor: what an id-mapped mount is mapped by.
pub fn id_map(uids: &[IdRange], gids: &[IdRange]) -> io::Result<OwnedFd> {
    let child = Idle::in_namespaces(CloneFlags::CLONE_NEWUSER, &[])?;
    write_map(child.pid(), "uid_map", uids)?;
    write_map(child.pid(), "gid_map", gids)?;
    Ok(File::open(child.namespace("user"))?.into())
}

/// The kernel takes a map once, all rows in one write.
fn write_map(pid: i32, file: &str, rows: &[IdRange]) -> io::Result<()> {
    let text: String =
        rows.iter().map(|row| format!("{} {} {}\n", row.inside, row.outside, row.count)).collect();
    fs::write(format!("/proc/{pid}/{file}"), text)
}

/// A child that waits to be told to write its sysctls, and then to be killed, which happens when this is dropped.
struct Idle {
    cloned: Cloned,
    /// One byte to the child, one answer: which sysctl failed, and with what.
    told: UnixStream,
}

/// What the child answers when all is written.
const WRITTEN: u32 = u32::MAX;

impl Idle {
    fn in_namespaces(flags: CloneFlags, sysctls: &[(PathBuf, String)]) -> io::Result<Idle> {
        let request = CloneRequest { flags: u64::from(flags.bits().cast_unsigned()), cgroup: None };
        let (told, asked) = UnixStream::pair()?;
        let sysctls = sysctls
            .iter()
            .map(|(path, value)| Ok((CString::new(path.as_os_str().as_bytes())?, value.as_bytes())))
            .collect::<io::Result<Vec<_>>>()?;
        // The copy of a process with threads: only system calls from here on.
        let cloned = process::clone_process(&request, || {
            let _unwatched =
                rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
            let mut byte = [0u8; 1];
            if rustix::io::read(&asked, &mut byte) == Ok(1) {
                let (which, errno) = write_all(&sysctls);
                let mut answer = [0u8; 8];
                answer[..4].copy_from_slice(&which.to_le_bytes());
                answer[4..].copy_from_slice(&errno.to_le_bytes());
                let _nobody = rustix::io::write(&asked, &answer);
            }
            loop {
                let _interrupted = rustix::event::poll(&mut [], None);
            }
        })?;
        Ok(Idle { cloned, told })
    }

    fn write_sysctls(&self, sysctls: &[(PathBuf, String)]) -> io::Result<()> {
        if sysctls.is_empty() {
            return Ok(());
        }
        let mut answer = [0u8; 8];
        (&self.told).write_all(b"!")?;
        (&self.told).read_exact(&mut answer)?;
        let number =
            |at: usize| u32::from_le_bytes([answer[at], answer[at + 1], answer[at + 2], answer[at + 3]]);
        if number(0) == WRITTEN {
            return Ok(());
        }
        let error = io::Error::from_raw_os_error(number(4).cast_signed());
        let what = sysctls.get(number(0) as usize).map_or_else(Default::default, |(path, value)| {
            format!("writing {value:?} to {} as the namespace's root: {error}", path.display())
        });
        Err(io::Error::new(error.kind(), what))
    }

    fn pid(&self) -> i32 {
        self.cloned.pid
    }

    fn namespace(&self, kind: &str) -> PathBuf {
        Path::new("/proc").join(self.cloned.pid.to_string()).join("ns").join(kind)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _gone = process::signal(self.cloned.pidfd.as_fd(), libc::SIGKILL);
        let _reaped = process::reap(self.cloned.pidfd.as_fd());
    }
}

/// Becomes the namespace's root and writes; says which one failed with which errno.
fn write_all(sysctls: &[(CString, &[u8])]) -> (u32, u32) {
    let failed =
        |index: usize, errno: rustix::io::Errno| (index as u32, errno.raw_os_error().cast_unsigned());
    for become_root in [crate::identity::set_gid(0), crate::identity::set_uid(0)] {
        if let Err(errno) = become_root {
            return failed(0, errno);
        }
    }
    for (index, (path, value)) in sysctls.iter().enumerate() {
        let opened = rustix::fs::open(path.as_c_str(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        if let Err(errno) = opened.and_then(|file| rustix::io::write(file, value)) {
            return failed(index, errno);
        }
    }
    (WRITTEN, 0)
}

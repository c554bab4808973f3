//! Upgrade: the keeper becomes another executable in place.
//!
//! ```text
//! old: everything it holds ──postcard──▶ memfd, descriptors by number, close-on-exec off
//!      execve(/proc/self/fd/EXECUTABLE, keeper --resume MEMFD)
//! new: reads the memfd, close-on-exec on, serves
//! ```
//!
//! The pid stays, so it remains the parent of its children, and the lock on the state directory stays.
//!
//! **Invariants.** Nothing is lost if execve fails: the old one goes on. No launch is under way and no
//! answer waits when it happens. The state has a version; an executable that does not know it ends, and
//! the daemon, which holds every pidfd, starts a new keeper.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt as _;

use keeper_api::{Body, Channel, Exit, Failure, FailureKind, ProcessId, Stream};
use rustix::io::FdFlags;
use serde::{Deserialize, Serialize};
use sys::handover::take;
use sys::seqpacket::{Conn, Listener};

use crate::clients::ClientNumber;
use crate::launcher::Launcher;
use crate::options::{KeeperOptions, StartStage};
use crate::processes::{Process, Stage};
use crate::server::Keeper;

/// The version of the state.
const VERSION: u16 = 1;
/// The largest state that is read.
const LARGEST: u64 = 16 << 20;

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u16,
    instance: u64,
    lock: RawFd,
    listener: RawFd,
    asker: (ClientNumber, u64),
    clients: Vec<(ClientNumber, RawFd, bool)>,
    processes: Vec<SavedProcess>,
    stored: Vec<(String, Vec<RawFd>)>,
}

#[derive(Serialize, Deserialize)]
struct SavedProcess {
    id: ProcessId,
    pid: i32,
    pidfd: RawFd,
    started_at_nanoseconds: u64,
    ours: bool,
    tied: Option<ClientNumber>,
    held: Vec<(Stream, RawFd)>,
    pty: Option<RawFd>,
    ended: Option<Exit>,
}

/// Does what [`keeper_api::Call::Upgrade`] asked for, as soon as nothing is half done.
pub fn when_asked(keeper: &mut Keeper) {
    if keeper.upgrade.is_none() || keeper.processes.is_launching() || !keeper.clients.is_flushed() {
        return;
    }
    let Some((executable, client, serial)) = keeper.upgrade.take() else { return };
    let error = become_other(keeper, &executable, (client, serial));
    // Before the answer: whoever reads it may count what we hold.
    drop(executable);
    tracing::warn!(%error, "the keeper could not become another executable and goes on");
    let failure = Failure {
        kind: FailureKind::System { errno: error.raw_os_error().unwrap_or(0) },
        message: format!("the keeper could not become the other executable: {error}"),
    };
    keeper.send(client, serial, Body::Failed(failure), &[]);
}

/// Returns only if it failed.
fn become_other(keeper: &Keeper, executable: &OwnedFd, asker: (ClientNumber, u64)) -> io::Error {
    let descriptors = held(keeper);
    let replaced = save(keeper, asker).and_then(|memfd| {
        inherit(&descriptors, true)?;
        inherit(&[memfd.as_fd()], true)?;
        let options =
            KeeperOptions { stage: StartStage::Resume(memfd.as_raw_fd()), ..keeper.options.clone() };
        execute(executable, &options)
    });
    let _still_open = inherit(&descriptors, false);
    match replaced {
        Err(error) => error,
    }
}

/// execve itself, not execvp: that would hand what is no executable to a shell.
fn execute(executable: &OwnedFd, options: &KeeperOptions) -> io::Result<Infallible> {
    let words = [OsString::from("keelson"), OsString::from("keeper")].into_iter().chain(options.arguments());
    let arguments: Vec<CString> =
        words.map(|word| CString::new(word.into_vec())).collect::<Result<_, _>>()?;
    let mut environment = Vec::new();
    for (name, value) in std::env::vars_os().filter(|(name, _)| name != oci::shield::MARK) {
        environment.push(CString::new([name.into_vec(), value.into_vec()].join(&b'='))?);
    }
    let path = CString::new(format!("/proc/self/fd/{}", executable.as_raw_fd()))?;
    nix::unistd::execve(&path, &arguments, &environment).map_err(io::Error::from)
}

/// Every descriptor that the next executable needs.
fn held(keeper: &Keeper) -> Vec<BorrowedFd<'_>> {
    let mut all = vec![keeper.lock.as_fd(), keeper.listener.as_fd()];
    all.extend(keeper.clients.iter().map(|(_, channel, _)| channel.as_fd()));
    for (_, process) in keeper.processes.after(None) {
        all.push(process.pidfd.as_fd());
        all.extend(process.pty.as_ref().map(AsFd::as_fd));
        all.extend(process.held.iter().map(|(_, held)| held.as_fd()));
    }
    all.extend(keeper.stored.iter().flat_map(|(_, descriptors)| descriptors).map(AsFd::as_fd));
    all
}

fn inherit(descriptors: &[BorrowedFd<'_>], inherited: bool) -> io::Result<()> {
    let flags = if inherited { FdFlags::empty() } else { FdFlags::CLOEXEC };
    for descriptor in descriptors {
        rustix::io::fcntl_setfd(descriptor, flags)?;
    }
    Ok(())
}

fn save(keeper: &Keeper, asker: (ClientNumber, u64)) -> io::Result<OwnedFd> {
    let processes = keeper.processes.after(None).map(|(id, process)| SavedProcess {
        id: id.clone(),
        pid: process.pid,
        pidfd: process.pidfd.as_raw_fd(),
        started_at_nanoseconds: process.started_at_nanoseconds,
        ours: process.ours,
        tied: process.tied,
        held: process.held.iter().map(|(stream, held)| (*stream, held.as_raw_fd())).collect(),
        pty: process.pty.as_ref().map(AsRawFd::as_raw_fd),
        ended: if let Stage::Ended(exit) = process.stage { Some(exit) } else { None },
    });
    let saved = Saved {
        version: VERSION,
        instance: keeper.instance,
        lock: keeper.lock.as_raw_fd(),
        listener: keeper.listener.as_fd().as_raw_fd(),
        asker,
        clients: keeper.clients.iter().map(|(n, channel, known)| (n, channel.as_raw_fd(), known)).collect(),
        processes: processes.collect(),
        stored: keeper
            .stored
            .iter()
            .map(|(name, fds)| (name.to_owned(), fds.iter().map(AsRawFd::as_raw_fd).collect()))
            .collect(),
    };
    let bytes = postcard::to_allocvec(&saved).map_err(io::Error::other)?;
    sys::memfd::sealed("keeper", &bytes).map_err(io::Error::from)
}

/// Takes over what the earlier executable left.
pub fn resume(options: KeeperOptions, launcher: Box<dyn Launcher>, memfd: RawFd) -> io::Result<Keeper> {
    let mut bytes = Vec::new();
    let memfd = take(memfd)?;
    File::from(memfd).take(LARGEST).read_to_end(&mut bytes)?;
    let saved: Saved = postcard::from_bytes(&bytes).map_err(io::Error::other)?;
    if saved.version != VERSION {
        return Err(io::Error::other(format!(
            "state of version {}, this build reads {VERSION}",
            saved.version
        )));
    }
    let options = KeeperOptions { stage: StartStage::Serve, ..options };
    let listener = Listener::from_fd(take(saved.listener)?)?;
    let mut keeper = Keeper::new(options, take(saved.lock)?, listener, launcher)?;
    keeper.instance = saved.instance;
    for (number, fd, known) in saved.clients {
        let channel = Channel::new(Conn::from_fd(take(fd)?)?);
        keeper.clients.restore(number, channel, known, &keeper.poll)?;
    }
    for process in saved.processes {
        let (id, process) = restore(process, keeper.processes.next_number())?;
        keeper.processes.insert(id, process, &keeper.poll)?;
    }
    for (name, fds) in saved.stored {
        let fds: io::Result<Vec<OwnedFd>> = fds.into_iter().map(take).collect();
        keeper.stored.put(name, fds?).map_err(io::Error::other)?;
    }
    keeper.send(saved.asker.0, saved.asker.1, Body::Done, &[]);
    Ok(keeper)
}

fn restore(saved: SavedProcess, number: u64) -> io::Result<(ProcessId, Process)> {
    let mut held = Vec::with_capacity(saved.held.len());
    for (stream, fd) in saved.held {
        held.push((stream, take(fd)?));
    }
    let process = Process {
        number,
        pid: saved.pid,
        pidfd: take(saved.pidfd)?,
        started_at_nanoseconds: saved.started_at_nanoseconds,
        ours: saved.ours,
        tied: saved.tied,
        held,
        pty: saved.pty.map(take).transpose()?,
        stage: saved.ended.map_or(Stage::Running, Stage::Ended),
    };
    Ok((saved.id, process))
}

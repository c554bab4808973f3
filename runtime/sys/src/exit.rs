//! How a process ended, whoever reaped it, and whether a pid still means the same process.
//!
//! Asked in this order, by pidfd: PIDFD_GET_INFO with PIDFD_INFO_EXIT, which Linux 6.15 answers after
//! the process was reaped (the pidfd then reports EPOLLHUP); the status in /proc/PID/stat, which is
//! there while it is a zombie. On an older kernel a process that somebody else reaped took its status
//! with it.
//!
//! What is not here: waiting (epoll on the pidfd) and reaping (waitid(2), the parent's right).

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

/// `PIDFD_INFO_EXIT`
const INFO_EXIT: u64 = 1 << 3;
/// `PIDFD_SIGNAL_PROCESS_GROUP`, Linux 6.9.
const SIGNAL_PROCESS_GROUP: u32 = 1 << 2;

/// `struct pidfd_info` of `<linux/pidfd.h>`, its first published size.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    users: [u32; 8],
    exit_code: i32,
}

/// `PIDFD_GET_INFO`: `_IOWR(0xFF, 11, struct pidfd_info)`.
const GET_INFO: u64 = 3 << 30 | (size_of::<PidfdInfo>() as u64) << 16 | 0xFF << 8 | 11;

/// What a process is known by beyond its pid, which the kernel gives to another one later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The pidfd's inode: unique until reboot since Linux 6.9; before, the same for all.
    pub inode: u64,
    /// Clock ticks between boot and its start.
    pub start_ticks: u64,
}

/// What can be said of a process that may have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// It has not ended.
    Alive,
    /// It ended with this wait(2) status word.
    Ended(i32),
    /// It ended and its status is gone.
    Lost,
}

/// Opens a process; `None` if there is none of that pid.
pub fn open(pid: i32) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(pid) else { return Ok(None) };
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Reaps a child that has ended; its wait(2) status word. `None`: it has not ended.
/// An error of `ECHILD`: it is no child of ours.
pub fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let Some(status) = rustix::process::waitid(WaitId::PidFd(pidfd), options)? else { return Ok(None) };
    if let Some(code) = status.exit_status() {
        return Ok(Some((code & 0xff) << 8));
    }
    Ok(Some(status.terminating_signal().unwrap_or(0) & 0x7f))
}

/// Looks how a process ended that this process need not be the parent of.
pub fn observe(pidfd: BorrowedFd<'_>, pid: i32) -> Observed {
    if let Some(word) = info_exit(pidfd) {
        return Observed::Ended(word);
    }
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok();
    // Read before this check: while the pidfd's process can be signalled it is not reaped, so its pid
    // means nobody else and the file was its own.
    match signal(pidfd, None) {
        Ok(()) => match stat.as_deref().and_then(zombie_status) {
            Some(word) => Observed::Ended(word),
            None => Observed::Alive,
        },
        Err(_) => info_exit(pidfd).map_or(Observed::Lost, Observed::Ended),
    }
}

/// Sends a signal; `None` only asks whether it could be sent.
pub fn signal(pidfd: BorrowedFd<'_>, signal: Option<i32>) -> io::Result<()> {
    send(pidfd, signal.unwrap_or(0), 0)
}

/// Sends a signal to the process's group; before Linux 6.9, to the process.
pub fn signal_group(pidfd: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    match send(pidfd, number, SIGNAL_PROCESS_GROUP) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => signal(pidfd, Some(number)),
        sent => sent,
    }
}

/// Kills a process with what nothing survives.
pub fn kill(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    signal(pidfd, Some(Signal::KILL.as_raw()))
}

/// What tells this process from a later one of the same pid. `None`: it is gone.
pub fn identity(pidfd: BorrowedFd<'_>, pid: i32) -> io::Result<Option<Identity>> {
    let inode = rustix::fs::fstat(pidfd)?.st_ino;
    let Ok(stat) = std::fs::read(format!("/proc/{pid}/stat")) else { return Ok(None) };
    if signal(pidfd, None).is_err() {
        return Ok(None);
    }
    let start_ticks = stat_fields(&stat).and_then(|mut fields| fields.nth(START_TIME)?.parse().ok());
    Ok(start_ticks.map(|start_ticks| Identity { inode, start_ticks }))
}

/// Fields of /proc/PID/stat counted from the state, which follows the name: see proc_pid_stat(5).
const START_TIME: usize = 22 - 3;
const EXIT_CODE: usize = 52 - 3;

fn zombie_status(stat: &[u8]) -> Option<i32> {
    let mut fields = stat_fields(stat)?.enumerate();
    let (_, state) = fields.next()?;
    if !matches!(state, "Z" | "X") {
        return None;
    }
    fields.find(|(index, _)| *index == EXIT_CODE)?.1.parse().ok()
}

fn stat_fields(stat: &[u8]) -> Option<impl Iterator<Item = &str>> {
    // The name may hold anything, closing brackets too; what follows the last one may not.
    let after = stat.iter().rposition(|byte| *byte == b')')?;
    Some(std::str::from_utf8(stat.get(after + 1..)?).ok()?.split_ascii_whitespace())
}

fn info_exit(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let mut info = PidfdInfo { mask: INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: GET_INFO carries the size of PidfdInfo, so the kernel writes no further than `info`, a
    // plain C struct that any bytes make valid.
    let done = unsafe { libc::ioctl(pidfd.as_fd().as_raw_fd(), GET_INFO, &raw mut info) };
    (done == 0 && info.mask & INFO_EXIT != 0).then_some(info.exit_code)
}

fn send(pidfd: BorrowedFd<'_>, signal: i32, flags: u32) -> io::Result<()> {
    // SAFETY: pidfd_send_signal reads no memory of ours when its siginfo is null.
    let done = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            flags,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn shell(script: &str) -> (Child, OwnedFd) {
        let child = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().expect("sh runs");
        let pidfd = open(child.id() as i32).expect("works").expect("is there");
        (child, pidfd)
    }

    fn wait_end(pidfd: &OwnedFd) {
        let poll = crate::poll::Poll::new().expect("epoll");
        poll.add(pidfd, 0, crate::poll::Interest::Read).expect("added");
        poll.wait(None).expect("waits");
    }

    #[test]
    fn status_is_seen_before_and_after_reaping() {
        for (script, word) in [("exit 42", 42 << 8), ("kill -9 $$", 9)] {
            let (child, pidfd) = shell(&format!("read x; {script}"));
            let pid = child.id() as i32;
            assert_eq!(observe(pidfd.as_fd(), pid), Observed::Alive);
            let before = identity(pidfd.as_fd(), pid).expect("works").expect("alive");
            drop({ child }.stdin.take());
            wait_end(&pidfd);
            assert_eq!(observe(pidfd.as_fd(), pid), Observed::Ended(word), "a zombie, {script}");
            assert_eq!(identity(pidfd.as_fd(), pid).expect("works"), Some(before));
            assert_eq!(reap(pidfd.as_fd()).expect("our child"), Some(word));
            let after = observe(pidfd.as_fd(), pid);
            assert!(matches!(after, Observed::Ended(w) if w == word) || after == Observed::Lost, "{after:?}");
            if after == Observed::Lost {
                println!("SKIPPED status after reaping: the kernel is older than 6.15");
            }
            assert_eq!(identity(pidfd.as_fd(), pid).expect("works"), None);
        }
    }

    #[test]
    fn a_group_is_signalled_whole() {
        use std::os::unix::process::CommandExt as _;
        let mut child = Command::new("sh")
            .args(["-c", "sleep 600 & echo $!; wait"])
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut line).expect("a pid");
        let inner = open(line.trim().parse().expect("a number")).expect("works").expect("runs");
        let pidfd = open(child.id() as i32).expect("works").expect("runs");
        signal_group(pidfd.as_fd(), 9).expect("sent");
        wait_end(&inner);
        child.wait().expect("reaped");
    }

    #[test]
    fn stat_lines_with_odd_names() {
        let fields = "S 1 ".to_owned() + &vec!["7"; 50].join(" ");
        for (name, state, want) in [("a", "Z", Some(7)), (") Z 1 (", "Z", Some(7)), ("a) Z", "S", None)] {
            let stat = format!("12 ({name}) {}", fields.replacen('S', state, 1));
            assert_eq!(zombie_status(stat.as_bytes()), want, "{stat}");
        }
        assert_eq!(zombie_status(b"12 (a"), None);
    }
}

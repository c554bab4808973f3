//! Processes by descriptor: clone3 with a pidfd, signals, waiting, exit codes.
//!
//! A pidfd names one process for ever; a PID may be recycled. Everything that outlives a function here
//! holds a pidfd.
//!
//! **Invariants.** [`clone_process`] is called by single-threaded processes only: the child is a copy of the caller
//! and shares no memory, but a lock that another thread held would stay locked in it. The child never
//! returns from it.
//!
//! Reference: clone(2), pidfd_open(2); `PIDFD_GET_INFO` needs Linux 6.13, its exit code 6.15.

use std::convert::Infallible;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

/// How to clone.
#[derive(Debug, Default)]
pub struct CloneRequest<'a> {
    /// `CLONE_NEW*` and `CLONE_PARENT`; the rest is not offered.
    pub flags: u64,
    /// A cgroup2 directory that the child starts in.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// A child just cloned.
#[derive(Debug)]
pub struct Cloned {
    pub pid: i32,
    pub pidfd: OwnedFd,
}

/// Bits a caller may ask for; with others (shared memory, threads) a copied child would not be sound.
const CLONE_ALLOWED: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_PARENT) as u64
    | 0x80; // CLONE_NEWTIME

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The exit code of a child whose closure panicked.
const CHILD_PANICKED: i32 = 70;

/// Clones the process; the child runs `child` and exits with what it returns, the parent gets a pidfd.
pub fn clone_process(request: &CloneRequest<'_>, child: impl FnOnce() -> i32) -> Result<Cloned, Errno> {
    let mut pidfd: libc::c_int = -1;
    let mut arguments = libc::clone_args {
        flags: (request.flags & CLONE_ALLOWED) | libc::CLONE_PIDFD as u64,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        // With CLONE_PARENT the signal is the caller's own; the kernel refuses another.
        exit_signal: if request.flags & libc::CLONE_PARENT as u64 == 0 { libc::SIGCHLD as u64 } else { 0 },
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    if let Some(cgroup) = request.cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child has a copy of memory and stack, as after fork(2); CLONE_ALLOWED
    // keeps that so. The kernel writes `pidfd`, which outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut arguments), size_of::<libc::clone_args>())
    };
    match result {
        0 => run_child(child),
        -1 => Err(last_errno()),
        pid => {
            // SAFETY: CLONE_PIDFD succeeded, so the kernel made this descriptor and nobody else owns it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned { pid: pid as i32, pidfd })
        }
    }
}

fn run_child(child: impl FnOnce() -> i32) -> ! {
    let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
    exit_now(code.unwrap_or(CHILD_PANICKED))
}

/// Ends the process without running what the parent registered for its own exit.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions; it never returns.
    unsafe { libc::_exit(code) }
}

/// Becomes another program. Returns only on failure. `arguments` and `environment` are handed over as they are.
pub fn execve(
    program: &std::ffi::CStr,
    arguments: &[std::ffi::CString],
    environment: &[std::ffi::CString],
) -> Result<Infallible, Errno> {
    let argv = pointers(arguments);
    let envp = pointers(environment);
    // SAFETY: both arrays end with a null pointer and point into CStrings that outlive the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    Err(last_errno())
}

/// Becomes the program that an open descriptor holds. Returns only on failure.
pub fn execve_descriptor(
    program: BorrowedFd<'_>,
    arguments: &[std::ffi::CString],
    environment: &[std::ffi::CString],
) -> Result<Infallible, Errno> {
    let argv = pointers(arguments);
    let envp = pointers(environment);
    // SAFETY: both arrays end with a null pointer and point into CStrings that outlive the call; the path is empty.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Err(last_errno())
}

fn pointers(strings: &[std::ffi::CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
}

/// Opens a process by PID.
pub fn open(pid: i32) -> Result<OwnedFd, Errno> {
    let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty())
}

/// Sends a signal by number, real-time ones included.
pub fn signal(pidfd: BorrowedFd<'_>, number: i32) -> Result<(), Errno> {
    // SAFETY: no memory is passed (siginfo is null); the descriptor is borrowed for the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            number,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Exited(i32),
    Killed(i32),
}

impl Ended {
    /// The code a shell would show: 128 + n for signal n.
    pub fn code(self) -> i32 {
        match self {
            Ended::Exited(code) => code,
            Ended::Killed(signal) => 128 + signal,
        }
    }

    fn from_wait_status(status: i32) -> Ended {
        if libc::WIFSIGNALED(status) {
            Ended::Killed(libc::WTERMSIG(status))
        } else {
            Ended::Exited(libc::WEXITSTATUS(status))
        }
    }
}

/// Reaps a child by its pidfd. None when it still runs.
pub fn try_reap(pidfd: BorrowedFd<'_>) -> Result<Option<Ended>, Errno> {
    reap_with(pidfd, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
}

/// Waits for a child and reaps it.
pub fn reap(pidfd: BorrowedFd<'_>) -> Result<Ended, Errno> {
    loop {
        match reap_with(pidfd, WaitIdOptions::EXITED) {
            Ok(Some(ended)) => return Ok(ended),
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn reap_with(pidfd: BorrowedFd<'_>, options: WaitIdOptions) -> Result<Option<Ended>, Errno> {
    let status = rustix::process::waitid(WaitId::PidFd(pidfd), options)?;
    Ok(status.map(|status| match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ended::Exited(code),
        (None, Some(signal)) => Ended::Killed(signal),
        (None, None) => Ended::Exited(0),
    }))
}

/// How a process ended that somebody else reaped: Linux 6.15. None on older kernels, or while it runs.
pub fn ended(pidfd: BorrowedFd<'_>) -> Option<Ended> {
    // SAFETY: pidfd_info is plain integers, for which zero is a value.
    let mut info: libc::pidfd_info = unsafe { std::mem::zeroed() };
    info.mask = libc::PIDFD_INFO_EXIT as u64;
    // SAFETY: the ioctl number carries the size of the struct that the kernel may fill.
    let result =
        unsafe { libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO as _, std::ptr::from_mut(&mut info)) };
    let known = result == 0 && info.mask & libc::PIDFD_INFO_EXIT as u64 != 0;
    known.then(|| Ended::from_wait_status(info.exit_code))
}

/// Field 22 of /proc/pid/stat and the state letter: with the PID it names one process for ever.
pub fn stat(pid: i32) -> Option<(char, u64)> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(line: &str) -> Option<(char, u64)> {
    // The command is in parentheses and may hold anything, parentheses included.
    let rest = &line[line.rfind(')')? + 1..];
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some((state, start))
}

/// Makes the process invisible to ptrace and most of /proc for anybody less than the host's root.
pub fn set_undumpable() -> Result<(), Errno> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
}

/// The process is killed when its parent ends.
pub fn die_with_parent() -> Result<(), Errno> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
}

/// Every signal goes back to its default and none is blocked: what a program expects at its start.
pub fn reset_signals() {
    for number in 1..=64 {
        if number == libc::SIGKILL || number == libc::SIGSTOP {
            continue;
        }
        // SAFETY: SIG_DFL installs no handler; glibc refuses its own two signals, which is fine.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    // SAFETY: sigset_t is plain memory that sigemptyset fills before it is read.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Sets the execution domain.
pub fn set_personality(domain: u32) -> Result<(), Errno> {
    // SAFETY: personality(2) takes and returns integers.
    if unsafe { libc::personality(domain.into()) } < 0 { Err(last_errno()) } else { Ok(()) }
}

/// The scheduler attributes of the calling thread, as `struct sched_attr` has them.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SchedulerAttributes {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

pub fn set_scheduler(attributes: SchedulerAttributes) -> Result<(), Errno> {
    let attributes = SchedulerAttributes { size: size_of::<SchedulerAttributes>() as u32, ..attributes };
    // SAFETY: the struct has the kernel's layout and says its own size.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Sets the IO priority of the calling process: class in the upper bits as ioprio_set(2) has it.
pub fn set_io_priority(value: u32) -> Result<(), Errno> {
    const WHO_PROCESS: libc::c_int = 1;
    // SAFETY: integers only.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

pub(crate) fn last_errno() -> Errno {
    Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn stat_survives_hostile_names() {
        let line = "7 (a) Z (b)) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 10 20";
        assert_eq!(parse_stat(line), Some(('S', 4242)));
        assert_eq!(parse_stat("7 (x"), None);
    }

    #[test]
    fn a_clone_ends_with_its_code() {
        for code in [0, 7, 255] {
            let child = clone_process(&CloneRequest::default(), || code).unwrap();
            assert_eq!(reap(child.pidfd.as_fd()).unwrap(), Ended::Exited(code));
        }
    }

    #[test]
    fn signals_show_in_the_code() {
        let child = clone_process(&CloneRequest::default(), || {
            loop {
                std::thread::park();
            }
        })
        .unwrap();
        assert_eq!(try_reap(child.pidfd.as_fd()).unwrap(), None);
        signal(child.pidfd.as_fd(), libc::SIGKILL).unwrap();
        assert_eq!(reap(child.pidfd.as_fd()).unwrap().code(), 137);
    }
}

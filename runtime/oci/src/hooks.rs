//! Hooks: programs that run at fixed points of a container's life with its state on standard input.
//!
//! A hook that fails or takes longer than its timeout fails the operation (or, for poststart and poststop, is
//! only logged; that is the caller's decision).
//!
//! Reference: OCI runtime-spec `config.md` POSIX-platform hooks.

use std::io::{ErrorKind, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use sys::Errno;

use crate::plan::Hook;

#[derive(Debug, thiserror::Error)]
pub enum HookError {
    #[error("start hook `{path}`")]
    Start {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("hook `{path}` ended with code {code}")]
    Ended { path: String, code: i32 },
    #[error("hook `{path}` did not end in {seconds} s")]
    Timeout { path: String, seconds: u32 },
    #[error("wait for hook `{path}`")]
    Wait {
        path: String,
        #[source]
        errno: Errno,
    },
}

/// Closes a state that a plan left open: the child's PID is only known now.
pub fn complete_state(open: &str, pid: i32, status: &str) -> String {
    format!("{open},\"status\":\"{status}\",\"pid\":{pid}}}")
}

/// Runs one hook to its end.
pub fn run(hook: &Hook, state: &str) -> Result<(), HookError> {
    let path = hook.path.display().to_string();
    let mut command = Command::new(&hook.path);
    command.env_clear().stdin(Stdio::piped());
    if let Some((name, rest)) = hook.arguments.split_first() {
        command.arg0(name).args(rest);
    }
    command.envs(hook.environment.iter().filter_map(|entry| entry.split_once('=')));
    let mut child = command.spawn().map_err(|source| HookError::Start { path: path.clone(), source })?;
    let waited = attend(child.id() as i32, child.stdin.take(), state.as_bytes(), hook.timeout_seconds);
    match waited {
        Ok(Some(0)) => Ok(()),
        Ok(Some(code)) => Err(HookError::Ended { path, code }),
        Ok(None) => Err(HookError::Timeout { path, seconds: hook.timeout_seconds.unwrap_or(0) }),
        Err(errno) => Err(HookError::Wait { path, errno }),
    }
}

/// Gives the hook its input and returns its code, or None when its time was up; either way it is gone and reaped.
/// A hook that does not read its input is within its rights, and within its time.
fn attend(
    pid: i32,
    mut input: Option<ChildStdin>,
    mut state: &[u8],
    timeout_seconds: Option<u32>,
) -> Result<Option<i32>, Errno> {
    let pidfd = sys::process::open(pid)?;
    if let Some(input) = &input {
        rustix::io::ioctl_fionbio(input, true)?;
    }
    let deadline = timeout_seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    loop {
        if wait(&pidfd, input.as_ref(), deadline)? {
            return Ok(Some(sys::process::reap(pidfd.as_fd())?.code()));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            sys::process::signal(pidfd.as_fd(), libc_sigkill())?;
            sys::process::reap(pidfd.as_fd())?;
            return Ok(None);
        }
        input = input.take().filter(|mut input| match input.write(state) {
            Ok(count) => {
                state = &state[count..];
                !state.is_empty()
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        });
    }
}

/// Waits until the hook has ended (true), takes more input, or its time is up.
fn wait(pidfd: &OwnedFd, input: Option<&ChildStdin>, deadline: Option<Instant>) -> Result<bool, Errno> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let left =
        left.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) });
    let mut poll: Vec<PollFd<'_>> = std::iter::once(PollFd::new(pidfd, PollFlags::IN))
        .chain(input.map(|input| PollFd::new(input, PollFlags::OUT)))
        .collect();
    match rustix::event::poll(&mut poll, left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(poll[0].revents().contains(PollFlags::IN)),
        Err(errno) => Err(errno),
    }
}

fn libc_sigkill() -> i32 {
    rustix::process::Signal::KILL.as_raw()
}

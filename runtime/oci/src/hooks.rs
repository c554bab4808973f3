//! Hooks: programs that run at fixed points of a container's life with its state on standard input.
//!
//! A hook that fails or takes longer than its timeout fails the operation (or, for poststart and poststop, is
//! only logged; that is the caller's decision).
//!
//! Reference: OCI runtime-spec `config.md` POSIX-platform hooks.

use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

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
    if let Some(mut stdin) = child.stdin.take() {
        // A hook that does not read its input is within its rights.
        let _closed = stdin.write_all(state.as_bytes());
    }
    let waited = wait(child.id() as i32, hook.timeout_seconds);
    match waited {
        Ok(Some(0)) => Ok(()),
        Ok(Some(code)) => Err(HookError::Ended { path, code }),
        Ok(None) => Err(HookError::Timeout { path, seconds: hook.timeout_seconds.unwrap_or(0) }),
        Err(errno) => Err(HookError::Wait { path, errno }),
    }
}

/// The code of the hook, or None when its time was up; either way it is gone and reaped.
fn wait(pid: i32, timeout_seconds: Option<u32>) -> Result<Option<i32>, Errno> {
    let pidfd = sys::process::open(pid)?;
    let timeout = timeout_seconds.map(|seconds| Timespec { tv_sec: seconds.into(), tv_nsec: 0 });
    let mut poll = [PollFd::new(&pidfd, PollFlags::IN)];
    let ready = loop {
        match rustix::event::poll(&mut poll, timeout.as_ref()) {
            Err(Errno::INTR) => {}
            result => break result?,
        }
    };
    if ready == 0 {
        sys::process::signal(pidfd.as_fd(), libc_sigkill())?;
        sys::process::reap(pidfd.as_fd())?;
        return Ok(None);
    }
    Ok(Some(sys::process::reap(pidfd.as_fd())?.code()))
}

fn libc_sigkill() -> i32 {
    rustix::process::Signal::KILL.as_raw()
}

//! What runs as PID 1 of a shared PID namespace: adopts orphans, reaps them, ends on SIGTERM.
//!
//! Single-threaded, allocates nothing after its start, opens nothing.

use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// The argument of `keelson cri` that makes a process this one.
pub const ARGUMENT: &str = "pod-init";

/// Returns when it is told to end.
pub fn run() -> ExitCode {
    // The pod's containers see this process: none of them may trace it and act in its place.
    if sys::process::set_undumpable().is_err() {
        return ExitCode::FAILURE;
    }
    // Blocked signals are queued even for PID 1, which otherwise gets only those it handles.
    let all = SigSet::all();
    if all.thread_block().is_err() {
        return ExitCode::FAILURE;
    }
    loop {
        reap();
        match all.wait() {
            Ok(Signal::SIGTERM | Signal::SIGINT) => return ExitCode::SUCCESS,
            Ok(_) => {}
            Err(_) => return ExitCode::FAILURE,
        }
    }
}

fn reap() {
    while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
    {
    }
}

//! The keeper: the one process per node that clones, reaps and holds stdio.
//!
//! ```text
//! daemon ── keelson keeper --state DIR ──▶ stage one ──▶ stage two (setsid, own cgroup)
//!                                            │ waits until it listens, then exits 0
//! stage two: one thread, one epoll
//!   keeper.sock ─▶ clients     calls in, answers and exits out
//!   Pending     ─▶ launches    a child on its way to the program
//!   pidfd       ─▶ processes   reaped, kept until forgotten
//! ```
//!
//! It knows nothing of containers, images, pods or logs, so that it needs no reason to be restarted.
//! The daemon may die and come back: everything is still here ([`keeper_api::Call::List`]). The keeper
//! may die: the processes live, the daemon holds their pidfds and hands them to the next keeper
//! ([`keeper_api::Call::Adopt`]). It becomes a newer executable in place ([`keeper_api::Call::Upgrade`]).
//!
//! **Invariants.** One thread. Nothing blocks but epoll_wait. Every table and queue has a bound with a
//! name. It runs from a file that no container can write ([`oci::shield`]). One keeper per state directory, by a record lock that no child inherits. No tokio, no polling.

mod calls;
mod clients;
mod launcher;
mod options;
mod processes;
mod server;
mod start;
mod stored;
mod surroundings;
mod upgrade;

use std::ffi::OsString;
use std::process::ExitCode;

pub use launcher::{Child, Fds, Launcher, Oci, Progress};
pub use options::{KeeperOptions, UsageError};
pub use start::{StartError, run};

/// `keelson keeper --state DIR`: the entry point of the executable.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    main_with(arguments, Box::new(Oci))
}

/// The entry point with another way to make processes, for tests.
pub fn main_with(arguments: Vec<OsString>, launcher: Box<dyn Launcher>) -> ExitCode {
    let options = match KeeperOptions::parse(&arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    if options.stage.launches()
        && let Err(error) = oci::shield::protect(&std::env::args_os().collect::<Vec<_>>())
    {
        complain(&error);
        return ExitCode::FAILURE;
    }
    match run(options, launcher) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn complain(error: &dyn std::error::Error) {
    let mut text = format!("keelson keeper: {error}");
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    eprintln!("{text}");
}

/// What a keeper leaves on the host.
pub fn footprint(state: &std::path::Path) -> sys::footprint::Footprint {
    sys::footprint::Footprint {
        files: [start::LOCK, surroundings::LOG, surroundings::OLD_LOG].map(|name| state.join(name)).to_vec(),
        cgroups: vec![options::DEFAULT_CGROUP.to_owned()],
        sockets: vec![state.join(keeper_api::SOCKET)],
        ..Default::default()
    }
}

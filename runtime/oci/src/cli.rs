//! `keelson oci`: runc's command line, verb for verb.
//!
//! Whoever calls it (containerd's shim, podman, a person) finds runc's flags, exit codes and the messages that
//! programs look for. It decides nothing: each verb reads its flags and calls `container`, `plan` or `launch`.
//!
//! Differences by intent: there is no checkpoint and no rootless mode.
//!
//! Reference: runc(8).

mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod exec_cgroup;
mod features;
mod kill;
mod list;
mod log;
mod options;
mod parse;
mod pause;
mod plain;
mod ps;
mod run;
mod session;
mod signal;
mod spec;
mod start;
mod state;
mod update;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::container::{ContainerError, Store};
use crate::shield;

const NAME: &str = "keelson oci";

/// Where records are kept unless `--root` says otherwise.
pub const DEFAULT_ROOT: &str = "/run/keelson-oci";

/// runc's form: programs look for the line that starts with `spec:`.
const VERSION: &str = concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.2.0");

/// What a failed `exec` exits with, so that it differs from most programs' own codes.
const EXEC_FAILED: u8 = 255;

#[derive(Debug, Parser)]
#[command(name = NAME, about = "Runs OCI bundles: runc's command line", version = VERSION, disable_version_flag = true)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Args)]
struct Global {
    /// Directory for the state of containers
    #[arg(long, default_value = DEFAULT_ROOT)]
    root: PathBuf,
    /// File to log errors to, besides stderr
    #[arg(long)]
    log: Option<PathBuf>,
    /// Format of the log
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    log_format: String,
    /// Log everything
    #[arg(long)]
    debug: bool,
    /// Accepted for runc's sake: there is no checkpoint
    #[arg(long, hide = true)]
    criu: Option<PathBuf>,
    /// Let systemd make the cgroups: cgroupsPath is `slice:prefix:name`
    #[arg(long)]
    systemd_cgroup: bool,
    /// Accepted for runc's sake when it is not `true`
    #[arg(long, default_value = "auto")]
    rootless: String,
    /// Print the version
    #[arg(long, short = 'v', action = clap::ArgAction::Version)]
    version: Option<bool>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a container and leave it waiting to be started
    Create(create::Create),
    /// Start a created container
    Start(start::Start),
    /// Print a container's state as JSON
    State(state::State),
    /// Send a signal to a container's init process
    Kill(kill::Kill),
    /// Remove a container that has stopped
    Delete(delete::Delete),
    /// Create and start a container
    Run(run::Run),
    /// Run one more process in a container
    Exec(exec::Exec),
    /// List containers
    List(list::List),
    /// List the processes of a container
    Ps(ps::Ps),
    /// Stop all processes of a container until resumed
    Pause(pause::Pause),
    /// Let the processes of a paused container run again
    Resume(pause::Resume),
    /// Change a container's resource limits
    Update(update::Update),
    /// Print resource statistics
    Events(events::Events),
    /// Write a specification to begin with
    Spec(spec::NewSpec),
    /// Print what this runtime supports as JSON
    Features(features::Features),
    /// Not supported
    Checkpoint(checkpoint::Checkpoint),
    /// Not supported
    Restore(checkpoint::Checkpoint),
}

/// The command line; `arguments` starts with the command's own name. The code to exit with.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let verb = parse::verb(&arguments);
    // Early, so that what is read before is not read twice. A failure is told below, where the log is known.
    let protected = verb.is_some_and(runs_programs) && protect().is_ok();
    let parsed = match plain::arguments(&arguments).map_or_else(|| parse::arguments(&arguments, verb), Ok) {
        Ok(parsed) => parsed,
        // As runc: who asks for nothing is shown what there is.
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            print!("{}", error.render());
            return 0;
        }
        Err(error) => {
            // Help and version are errors to clap; they go to stdout with code 0.
            let _closed = error.print();
            return u8::from(error.use_stderr());
        }
    };
    let log = log::Log::new(parsed.global.log.clone(), &parsed.global.log_format, parsed.global.debug);
    log.install();
    let failed = if matches!(parsed.verb, Verb::Exec(_)) { EXEC_FAILED } else { 1 };
    match dispatch(parsed, protected) {
        Ok(code) => code,
        Err(error) => {
            log.error(&error);
            failed
        }
    }
}

/// Verbs whose child becomes a program of the container.
fn runs_programs(verb: &str) -> bool {
    matches!(verb, "create" | "run" | "exec")
}

fn protect() -> Result<(), shield::ShieldError> {
    // The process's own arguments, not the parsed ones: they may start with the multicall command.
    let own: Vec<OsString> = std::env::args_os().collect();
    shield::protect(&own)
}

fn dispatch(Arguments { global: arguments, verb }: Arguments, protected: bool) -> Result<u8, ContainerError> {
    if arguments.rootless == "true" {
        return Err(ContainerError::Usage("--rootless is not supported".into()));
    }
    if !protected && matches!(verb, Verb::Create(_) | Verb::Run(_) | Verb::Exec(_)) {
        protect().map_err(|error| ContainerError::Usage(log::chain(&error)))?;
    }
    let store = Store::new(&arguments.root);
    // Only who makes a container chooses: its record tells the others.
    let systemd = arguments.systemd_cgroup;
    match verb {
        Verb::Create(verb) => verb.run(&store, systemd),
        Verb::Start(verb) => verb.run(&store),
        Verb::State(verb) => verb.run(&store),
        Verb::Kill(verb) => verb.run(&store),
        Verb::Delete(verb) => verb.run(&store),
        Verb::Run(verb) => verb.run(&store, systemd),
        Verb::Exec(verb) => verb.run(&store),
        Verb::List(verb) => verb.run(&store),
        Verb::Ps(verb) => verb.run(&store),
        Verb::Pause(verb) => verb.run(&store),
        Verb::Resume(verb) => verb.run(&store),
        Verb::Update(verb) => verb.run(&store),
        Verb::Events(verb) => verb.run(&store),
        Verb::Spec(verb) => verb.run(),
        Verb::Features(verb) => verb.run(),
        Verb::Checkpoint(verb) | Verb::Restore(verb) => verb.run(),
    }
}

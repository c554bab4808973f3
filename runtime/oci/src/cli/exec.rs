//! `exec`: one more process in a running container.

use std::os::fd::AsFd as _;
use std::path::PathBuf;

use clap::Args;
use oci_spec::runtime::{Capabilities, Process, Spec, User};

use super::session::{self, Signals, Terminal};
use super::{exec_cgroup, options};
use crate::container::{ContainerError, Record, Status, Store, status, write_pid_file};
use crate::launch::{self, LaunchError, LaunchFds, Pending, Progress};
use crate::plan::{ExecTarget, Plan};

#[derive(Debug, Args)]
pub(super) struct Exec {
    /// Unix socket that gets the master of the process's terminal
    #[arg(long)]
    console_socket: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long)]
    cwd: Option<PathBuf>,
    /// NAME=VALUE, may be repeated
    #[arg(long, short)]
    env: Vec<String>,
    /// Give the process a terminal
    #[arg(long, short)]
    tty: bool,
    /// UID[:GID]
    #[arg(long, short)]
    user: Option<String>,
    /// Supplementary group, may be repeated
    #[arg(long, short = 'g')]
    additional_gids: Vec<u32>,
    /// process.json with all of it
    #[arg(long, short)]
    process: Option<PathBuf>,
    /// Leave the process running in the background
    #[arg(long, short)]
    detach: bool,
    /// File to write the PID to
    #[arg(long)]
    pid_file: Option<PathBuf>,
    /// SELinux label: not supported
    #[arg(long)]
    process_label: Option<String>,
    /// Existing cgroup below the container's, as [CONTROLLER:]PATH; may be repeated
    #[arg(long)]
    cgroup: Vec<String>,
    /// AppArmor profile
    #[arg(long)]
    apparmor: Option<String>,
    /// No new privileges for the process
    #[arg(long)]
    no_new_privs: bool,
    /// Capability to add, may be repeated
    #[arg(long, short)]
    cap: Vec<String>,
    /// Number of descriptors from 3 on to pass to the process
    #[arg(long, default_value_t = 0)]
    preserve_fds: u32,
    /// Exec even when the container is paused
    #[arg(long)]
    ignore_paused: bool,
    id: String,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Exec {
    pub(super) fn run(self, store: &Store) -> Result<u8, ContainerError> {
        let record = store.load(&self.id)?;
        match status(store, &record)? {
            Status::Stopped => return Err(ContainerError::ExecStopped),
            Status::Paused if !self.ignore_paused => return Err(ContainerError::ExecPaused),
            _ => {}
        }
        let spec = store.load_spec(&self.id)?;
        let process = self.process(&spec)?;
        let terminal = process.terminal() == Some(true);
        options::check_console(terminal, self.detach, self.console_socket.as_deref())?;
        let mut console = options::connect_console(self.console_socket.as_deref())?;
        let own_terminal = if terminal && !self.detach {
            let (terminal, end) = Terminal::expect()?;
            console = Some(end);
            Some(terminal)
        } else {
            None
        };
        let place = exec_cgroup::Place::find(&record.cgroup, &self.cgroup)?;
        let plan = Plan::exec(&process, &target(&record, &spec, place.procs))?;
        let fds = LaunchFds {
            cgroup: place.unified,
            console,
            preserve: options::preserved(self.preserve_fds)?,
            ..LaunchFds::default()
        };
        let signals = if self.detach { None } else { Some(Signals::block()?) };
        let mut pending = launch::start(plan, fds)?;
        if let Err(error) = until_running(&mut pending) {
            pending.abandon();
            return Err(error.into());
        }
        if let Some(path) = &self.pid_file {
            write_pid_file(path, pending.pid)?;
        }
        match signals {
            None => Ok(0),
            Some(signals) => session::stay(pending.pidfd.as_fd(), signals, own_terminal),
        }
    }

    /// The process to run: a file's, or the container's own with what the flags change.
    fn process(&self, spec: &Spec) -> Result<Process, ContainerError> {
        if let Some(path) = &self.process {
            let bytes = std::fs::read(path).map_err(ContainerError::file("read", path))?;
            let mut process: Process = serde_json::from_slice(&bytes)
                .map_err(|source| ContainerError::Json { file: path.clone(), source })?;
            // One that names no profile is confined as the container is.
            if process.apparmor_profile().as_ref().is_none_or(String::is_empty) {
                let own = spec.process().as_ref().and_then(|process| process.apparmor_profile().clone());
                process.set_apparmor_profile(own);
            }
            return Ok(process);
        }
        if self.command.is_empty() {
            return Err(ContainerError::Usage("process args cannot be empty".into()));
        }
        let mut process = spec.process().clone().unwrap_or_default();
        process.set_args(Some(self.command.clone()));
        process.set_terminal(Some(self.tty));
        if let Some(cwd) = &self.cwd {
            process.set_cwd(cwd.clone());
        }
        let mut environment = process.env().clone().unwrap_or_default();
        environment.extend(self.env.iter().cloned());
        process.set_env(Some(environment));
        if self.process_label.as_ref().is_some_and(|label| !label.is_empty()) {
            process.set_selinux_label(self.process_label.clone());
        }
        if self.apparmor.is_some() {
            process.set_apparmor_profile(self.apparmor.clone());
        }
        if self.no_new_privs {
            process.set_no_new_privileges(Some(true));
        }
        self.set_user(&mut process)?;
        self.add_capabilities(&mut process)?;
        Ok(process)
    }

    fn set_user(&self, process: &mut Process) -> Result<(), ContainerError> {
        let mut user = process.user().clone();
        if let Some(text) = &self.user {
            let (uid, gid) = parse_user(text)?;
            user = User::default();
            user.set_uid(uid);
            user.set_gid(gid.unwrap_or(process.user().gid()));
        }
        if !self.additional_gids.is_empty() {
            let mut groups = user.additional_gids().clone().unwrap_or_default();
            groups.extend(&self.additional_gids);
            user.set_additional_gids(Some(groups));
        }
        process.set_user(user);
        Ok(())
    }

    fn add_capabilities(&self, process: &mut Process) -> Result<(), ContainerError> {
        if self.cap.is_empty() {
            return Ok(());
        }
        let mut sets = process.capabilities().clone().unwrap_or_default();
        for name in &self.cap {
            let bare = name.to_ascii_uppercase();
            let capability = bare
                .strip_prefix("CAP_")
                .unwrap_or(&bare)
                .parse()
                .map_err(|_| ContainerError::Usage(format!("unknown capability `{name}`")))?;
            let with = |set: &Option<Capabilities>| {
                let mut set = set.clone().unwrap_or_default();
                set.insert(capability);
                Some(set)
            };
            let (bounding, effective) = (with(sets.bounding()), with(sets.effective()));
            let (permitted, inheritable) = (with(sets.permitted()), with(sets.inheritable()));
            sets.set_bounding(bounding)
                .set_effective(effective)
                .set_permitted(permitted)
                .set_inheritable(inheritable);
        }
        process.set_capabilities(Some(sets));
        Ok(())
    }
}

fn until_running(pending: &mut Pending) -> Result<(), LaunchError> {
    while pending.wait()? != Progress::Running {}
    Ok(())
}

fn target(record: &Record, spec: &Spec, cgroup_procs: Vec<PathBuf>) -> ExecTarget {
    ExecTarget {
        pid: record.pid,
        start_ticks: Some(record.start_ticks),
        namespaces: record.namespaces,
        cgroup_procs,
        seccomp: spec.linux().as_ref().and_then(|linux| linux.seccomp().clone()),
        keyring: Some(format!("_ses.{}", record.id)),
        state: Some(record.open_state()),
    }
}

/// `UID` or `UID:GID`: numbers only, since names would need the container's files.
fn parse_user(text: &str) -> Result<(u32, Option<u32>), ContainerError> {
    let bad = |_| ContainerError::Usage(format!("--user `{text}`: expected UID or UID:GID, as numbers"));
    match text.split_once(':') {
        Some((uid, gid)) => Ok((uid.parse().map_err(bad)?, Some(gid.parse().map_err(bad)?))),
        None => Ok((text.parse().map_err(bad)?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users() {
        for (text, expect) in
            [("7", Some((7, None))), ("7:8", Some((7, Some(8)))), ("root", None), ("7:", None), ("", None)]
        {
            assert_eq!(parse_user(text).ok(), expect, "{text}");
        }
    }
}

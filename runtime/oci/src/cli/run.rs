//! `run`: create, start, and stay with the container until it ends, unless detached.

use std::os::fd::AsFd as _;

use clap::Args;
use oci_spec::runtime::Process;

use super::options::{self, BundleOptions};
use super::session::{self, Terminal};
use crate::container::{self, ContainerError, Created, NotifySocket, Store};
use crate::launch::Progress;

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    options: BundleOptions,
    /// Leave the container running in the background
    #[arg(long, short)]
    detach: bool,
    /// Keep the container's state after it has ended
    #[arg(long)]
    keep: bool,
    /// Accepted for runc's sake
    #[arg(long)]
    no_subreaper: bool,
    id: String,
}

impl Run {
    pub(super) fn run(self, store: &Store, systemd_cgroup: bool) -> Result<u8, ContainerError> {
        let spec = container::read_spec(&self.options.bundle.join("config.json"))?;
        let terminal = spec.process().as_ref().and_then(Process::terminal) == Some(true);
        let socket = self.options.console_socket.clone();
        options::check_console(terminal, self.detach, socket.as_deref())?;
        let mut console = options::connect_console(socket.as_deref())?;
        let own_terminal = if terminal && !self.detach {
            let (terminal, end) = Terminal::expect()?;
            console = Some(end);
            Some(terminal)
        } else {
            None
        };
        let request = self.options.request(self.id.clone(), console, systemd_cgroup)?;
        let created = container::create(store, request)?;
        let code = start(store, created, own_terminal, self.detach);
        let over = code.is_err() || (!self.detach && !self.keep);
        if over {
            let removed = container::delete(store, &self.id, true);
            return code.and_then(|code| removed.map(|()| code));
        }
        code
    }
}

fn start(
    store: &Store,
    created: Created,
    terminal: Option<Terminal>,
    detach: bool,
) -> Result<u8, ContainerError> {
    let Created { record, spec, mut pending, gate } = created;
    let signals = if detach { None } else { Some(session::Signals::block()?) };
    let directory = store.directory_of(&record.id)?;
    let notify = NotifySocket::bind(&directory)?;
    container::open_gate(&directory)?;
    drop(gate);
    while pending.wait()? != Progress::Running {}
    session::poststart(store, &record, Some(&spec));
    let Some(signals) = signals else {
        if let Some(notify) = notify {
            notify.pass_on(record.pid, pending.pidfd.as_fd())?;
        }
        return Ok(0);
    };
    let pidfd = pending.pidfd.as_fd();
    // Ends with the container at the latest.
    std::thread::scope(|scope| {
        if let Some(notify) = &notify {
            scope.spawn(move || {
                if let Err(error) = notify.pass_on(record.pid, pidfd) {
                    tracing::warn!(error = &error as &dyn std::error::Error, "notify the service manager");
                }
            });
        }
        session::stay(pidfd, signals, terminal)
    })
}

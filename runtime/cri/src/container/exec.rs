//! One more process in a running container: its plan, and the cgroup it starts in.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use oci::plan::Namespaces;
use oci::{ExecTarget, Plan};
use oci_spec::runtime::Spec;
use sys::cgroup::Cgroup;

use super::{Container, ContainerRecord, create, start};
use crate::fault::{Doing as _, Fault, Outcome};
use crate::node::Node;
use crate::process::ProcessId;
use crate::sandbox::execute::blocking;

/// Everything an exec needs.
pub struct Prepared {
    pub id: ProcessId,
    pub plan: Plan,
    pub cgroup: Option<OwnedFd>,
}

/// Numbers execs of this daemon; with the start time of the daemon they are unique among restarts.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Plans a command in a container that runs: its user, environment, capabilities and confinement.
pub async fn prepare(
    node: &Arc<Node>,
    container: &Container,
    command: Vec<String>,
    tty: bool,
) -> Outcome<Prepared> {
    if command.is_empty() {
        return Err(Fault::invalid("no command to execute"));
    }
    let record = container.running()?;
    let start_ticks = start_ticks(node, &record).await?;
    let specification = create::specification(node, container).await?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let id = format!("{}-exec-{}-{number}", record.id, std::process::id());
    let id = ProcessId::new(id).doing(|| "naming the exec".into())?;
    let (layout, path, pid) = (node.layout.clone(), record.cgroup.clone(), record.pid);
    let keyring = start::keyring(&record);
    blocking(move || {
        let cgroup = Cgroup::open(&layout, &path).doing(|| "opening the container's cgroup".into())?;
        let target = ExecTarget {
            pid,
            start_ticks: Some(start_ticks),
            keyring: Some(keyring),
            state: None,
            namespaces: namespaces(&specification),
            cgroup_procs: cgroup.v1_procs(),
            seccomp: specification.linux().as_ref().and_then(|linux| linux.seccomp().clone()),
        };
        let process = process(&specification, command, tty)?;
        let plan = Plan::exec(&process, &target).doing(|| "planning the exec".into())?;
        let cgroup = cgroup.v2_dir().doing(|| "opening the container's cgroup".into())?;
        Ok(Prepared { id, plan, cgroup })
    })
    .await
}

/// What makes the PID name this container's process and no later one, which could be the host's.
async fn start_ticks(node: &Arc<Node>, record: &ContainerRecord) -> Outcome<u64> {
    let found = sys::process::stat(record.pid);
    let pidfd = node.processes.pidfd(&start::process_id(record)?).await;
    // Only a PID whose process was not reaped after the look is still the one that was looked at.
    let same = pidfd.is_some_and(|pidfd| sys::process::signal(pidfd.as_fd(), 0).is_ok());
    match found {
        Some((_, ticks)) if same => Ok(ticks),
        _ => Err(Fault::failed("planning the exec", "the container's process has ended")),
    }
}

fn process(specification: &Spec, command: Vec<String>, tty: bool) -> Outcome<oci_spec::runtime::Process> {
    let first = specification.process().clone();
    let mut process =
        first.ok_or_else(|| Fault::failed("planning the exec", "the specification has no process"))?;
    let mut env = process.env().clone().unwrap_or_default();
    if tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    process.set_args(Some(command)).set_env(Some(env)).set_terminal(Some(tty));
    Ok(process)
}

/// All that the container does not share with the host.
fn namespaces(specification: &Spec) -> Namespaces {
    let linux = specification.linux().clone().unwrap_or_default();
    let list = linux.namespaces().clone().unwrap_or_default();
    list.into_iter().fold(Namespaces::default(), |set, entry| set.with(Namespaces::from(entry.typ())))
}

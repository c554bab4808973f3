//! StartContainer: cgroup, streams, process. A failure leaves a container that has exited with a reason.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use oci::{Plan, PlanOptions, Rootfs};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use sys::cgroup::Cgroup;
use tokio::task::JoinHandle;

use super::plan::{self, Step};
use super::{ContainerRecord, create, image_volume, signal};
use crate::fault::{Doing as _, Fault, Outcome};
use crate::io::{ContainerIo, IoOptions};
use crate::node::Node;
use crate::process::{ProcessId, Running};
use crate::sandbox::execute::{Before, blocking};

/// What a started container has.
pub struct Started {
    pub running: Running,
    pub io: ContainerIo,
}

/// A cgroup, and the specification that its limits came from.
type Confined = (Arc<Cgroup>, Spec);

/// What steps have made so far.
#[derive(Default)]
struct Made {
    /// Begun, while the streams are made.
    begun: Option<JoinHandle<Outcome<Confined>>>,
    cgroup: Option<Arc<Cgroup>>,
    specification: Option<Spec>,
    io: Option<ContainerIo>,
    running: Option<Running>,
}

impl Made {
    /// The cgroup, as soon as it is there.
    async fn cgroup(&mut self) -> Outcome<Option<Arc<Cgroup>>> {
        if let Some(begun) = self.begun.take() {
            let made = begun.await.map_err(|error| Fault::failed("a worker of the runtime", error))?;
            let (cgroup, specification) = made?;
            (self.cgroup, self.specification) = (Some(cgroup), Some(specification));
        }
        Ok(self.cgroup.clone())
    }
}

/// The container's name with the keeper.
pub fn process_id(record: &ContainerRecord) -> Outcome<ProcessId> {
    ProcessId::new(record.id.as_str()).doing(|| "naming the container's process".into())
}

/// The name of its session keyring: without one of its own, all containers would share the keeper's. runc's name.
pub fn keyring(record: &ContainerRecord) -> String {
    format!("_ses.{}", record.id)
}

/// How its streams are set up, now and after a restart.
pub fn io_options(node: &Node, record: &ContainerRecord) -> Outcome<IoOptions> {
    Ok(IoOptions {
        dir: node.paths.io(),
        id: process_id(record)?,
        tty: record.config.tty,
        stdin: record.config.stdin,
        stdin_once: record.config.stdin_once,
        log_path: (!record.log_path.is_empty()).then(|| record.log_path.clone().into()),
    })
}

/// Executes the start plan; what a failed start made is taken back.
pub async fn start(node: &Arc<Node>, record: &ContainerRecord, before: Before<'_>) -> Outcome<Started> {
    let mut made = Made::default();
    for (k, step) in plan::start(record).iter().enumerate() {
        let done = match before(k) {
            Ok(()) => execute(node, record, step, &mut made).await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = done {
            undo(node, record, made).await;
            return Err(fault);
        }
    }
    match (made.running, made.io) {
        (Some(running), Some(io)) => Ok(Started { running, io }),
        _ => Err(Fault::failed("starting a container", "its plan launches nothing")),
    }
}

async fn execute(node: &Arc<Node>, record: &ContainerRecord, step: &Step, made: &mut Made) -> Outcome<()> {
    match step {
        Step::Cgroup { path } => {
            let (layout, path) = (node.layout.clone(), path.clone());
            let specification = create::specification_path(node, &record.id);
            made.begun = Some(tokio::spawn(blocking(move || {
                let specification = create::read_specification(&specification)?;
                let cgroup = Cgroup::create(&layout, &path).doing(|| format!("creating cgroup {path}"))?;
                if let Err(error) = oci::cgroup::apply(&cgroup, &resources_of(&specification)) {
                    let _ = cgroup.delete();
                    return Err(Fault::failed("applying the container's limits", error));
                }
                Ok((Arc::new(cgroup), specification))
            })));
            Ok(())
        }
        Step::Streams => {
            let io = ContainerIo::create(&node.streams, io_options(node, record)?).await;
            made.io = Some(io.doing(|| "making the container's streams".into())?);
            Ok(())
        }
        Step::Launch => launch(node, record, made).await,
        _ => Ok(()),
    }
}

async fn launch(node: &Arc<Node>, record: &ContainerRecord, made: &mut Made) -> Outcome<()> {
    // The cgroup is made meanwhile.
    let shared = shared_pid_namespace(node, record).await?;
    let cgroup = made.cgroup().await?;
    let (Some(cgroup), Some(mut specification), Some(io)) = (cgroup, made.specification.take(), &made.io)
    else {
        return Err(Fault::failed("starting a container", "its plan has no cgroup or no streams"));
    };
    let snapshot = node.images.snapshot_of(record.id.as_str())?;
    let image_volumes = image_volume::planned(&record.config.mounts, &snapshot);
    let options = PlanOptions {
        image_volumes,
        bundle: node.container_records.folder(record.id.as_str()),
        rootfs: Some(Rootfs::Overlay { lower: snapshot.lower, upper: snapshot.upper, work: snapshot.work }),
        cgroup_procs: cgroup.v1_procs(),
        cgroup_path: record.cgroup.clone(),
        layout: Some((*node.layout).clone()),
        gate: true,
        keyring: Some(keyring(record)),
        ..PlanOptions::default()
    };
    if let Some((path, opened)) = &shared {
        let by_descriptor = || format!("/proc/{}/fd/{}", std::process::id(), opened.as_raw_fd()).into();
        // Whoever is in the pod's user namespace by then may not look at our descriptors, nor at any process of the host's.
        let by_name = node.sandbox(record.sandbox.as_str())?.record().user_namespace().is_some();
        join_pid(&mut specification, if by_name { path.clone() } else { by_descriptor() });
    }
    let plan = Plan::from_spec(&specification, &options).doing(|| "planning the container".into())?;
    let directory = cgroup.v2_dir().doing(|| "opening the container's cgroup".into())?;
    let stdio = io.launch_stdio().doing(|| "opening the container's streams".into())?;
    own_streams(node, record, &stdio)?;
    let launched = node.processes.launch(&process_id(record)?, &plan, stdio, directory).await;
    let mut running = launched.doing(|| "failed to start the container".into())?;
    let pty = running.pty.take();
    let io = io.clone();
    made.running = Some(running);
    io.started(pty).doing(|| "following the container's terminal".into())
}

/// The PID namespace that is shared, by name and open. The number of who had it at CreateContainer can be another process's by now,
/// also one of the host's.
async fn shared_pid_namespace(
    node: &Arc<Node>,
    record: &ContainerRecord,
) -> Outcome<Option<(PathBuf, OwnedFd)>> {
    let Some((path, id)) = create::pid_namespace(node, record).await? else { return Ok(None) };
    // No disk is behind it, so no thread is needed for it.
    let opened =
        std::fs::File::open(&path).doing(|| format!("opening the PID namespace {}", path.display()))?;
    // Not reaped after the look: it was still the one that was looked at.
    let pidfd = node.processes.pidfd(&id).await;
    if pidfd.is_some_and(|pidfd| sys::process::signal(pidfd.as_fd(), 0).is_ok()) {
        return Ok(Some((path, opened.into())));
    }
    Err(Fault::failed("joining a PID namespace", format!("its process {id} has ended")))
}

/// The specification has the name that the PID namespace had at CreateContainer.
fn join_pid(specification: &mut Spec, path: PathBuf) {
    let namespaces = specification.linux_mut().as_mut().and_then(|linux| linux.namespaces_mut().as_mut());
    for namespace in namespaces.into_iter().flatten() {
        if namespace.typ() == LinuxNamespaceType::Pid {
            namespace.set_path(Some(path.clone()));
        }
    }
}

/// In a user namespace a program could not open its streams by name, were they the host's root's.
fn own_streams(node: &Node, record: &ContainerRecord, io: &crate::process::Io) -> Outcome<()> {
    let sandbox = node.sandbox(record.sandbox.as_str())?.record();
    let Some(user) = sandbox.user_namespace() else { return Ok(()) };
    let (uid, gid) = user.on_host(record.user.uid, record.user.gid)?;
    for stream in &io.stdio {
        let what = || "giving the container's streams to its user".to_owned();
        let found = rustix::fs::fstat(stream).doing(what)?;
        if rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::Fifo {
            std::os::unix::fs::fchown(stream, Some(uid), Some(gid)).doing(what)?;
        }
    }
    Ok(())
}

/// Last made, first taken back.
async fn undo(node: &Node, record: &ContainerRecord, mut made: Made) {
    // One that failed has left nothing, and was told of.
    let cgroup = made.cgroup().await.ok().flatten();
    if let (Some(_), Ok(id)) = (made.running, process_id(record)) {
        if let Err(error) = node.processes.signal(&id, signal::KILL).await {
            tracing::warn!(container = %record.id, %error, "killing a container that did not start");
        }
        node.processes.exited(&id).await;
        node.processes.forget(&id).await;
    }
    if let Some(io) = made.io {
        io.close().await;
    }
    if let Some(cgroup) = cgroup {
        let removed = blocking(move || {
            cgroup.kill().doing(|| "killing what is left in a cgroup".into())?;
            cgroup.delete().doing(|| "removing a cgroup".into())
        })
        .await;
        if let Err(error) = removed {
            tracing::warn!(container = %record.id, %error, "taking back a container that did not start");
        }
    }
}

/// The limits of a specification.
pub fn resources_of(specification: &Spec) -> oci_spec::runtime::LinuxResources {
    let linux = specification.linux().clone().unwrap_or_default();
    linux.resources().clone().unwrap_or_default()
}

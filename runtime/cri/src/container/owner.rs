//! The owner of a container: executes its commands one after the other, and sees its end.
//!
//! A stop does not block the owner: it is a deadline and a list of those who wait, so that a second stop
//! with a shorter grace, the exit and an update are all served while the first waits.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cri_api::v1;
use sys::cgroup::Cgroup;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::spec::{merge_update, translate_resources};
use super::start::{Started, process_id};
use super::{COMMANDS_MAX, Command, Container, ContainerRecord, Phase, Reply, create, signal, start, status};
use crate::clock;
use crate::fault::{Doing as _, Fault, Outcome};
use crate::io::ContainerIo;
use crate::node::Node;
use crate::process::Exit;
use crate::record::Durability;
use crate::sandbox::execute::blocking;

/// After SIGKILL a process is gone at once, unless the kernel holds it; then the caller hears of it.
const KILL_LIMIT: Duration = Duration::from_secs(60);
/// How long the log of an ended container may take to be complete.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// The code of a container that could not be started.
const START_FAILED_CODE: i32 = 128;

/// What a restart found.
pub enum Adopted {
    /// The container is new, or has no process.
    No,
    /// Its process lives, or ended while nobody looked; these are its streams.
    Running(ContainerIo),
}

/// A stop that waits for the process to end.
struct Stopping {
    deadline: Instant,
    killed: bool,
    replies: Vec<Reply<()>>,
}

struct Owner {
    node: Arc<Node>,
    container: Arc<Container>,
    commands: mpsc::Receiver<Command>,
    stopping: Option<Stopping>,
    /// Who waits for the removal that follows the end.
    removers: Vec<Reply<()>>,
}

/// What woke the owner.
enum Woken {
    Command(Command),
    Exited(Exit),
    Deadline,
    Cancelled,
}

/// Starts the owner of a container that exists.
pub fn start(node: &Arc<Node>, record: ContainerRecord, adopted: Adopted) -> Arc<Container> {
    let (sender, commands) = mpsc::channel(COMMANDS_MAX);
    let io = match adopted {
        Adopted::Running(io) => Some(io),
        Adopted::No => None,
    };
    let container = Arc::new(Container {
        id: record.id.clone(),
        sandbox: record.sandbox.clone(),
        record: watch::channel(Arc::new(record)).0,
        commands: sender,
        removed: AtomicBool::new(false),
        io: std::sync::Mutex::new(io),
        readings: std::sync::Mutex::default(),
    });
    node.containers.insert(container.id.as_str(), container.clone());
    let (node_copy, copy) = (node.clone(), container.clone());
    let owner = Owner { node: node_copy, container: copy, commands, stopping: None, removers: Vec::new() };
    node.tasks.spawn(owner.run());
    container
}

impl Owner {
    /// What it does now and then has room of its own while it is done: an owner mostly waits, and there are many.
    async fn run(mut self) {
        loop {
            match self.next().await {
                Woken::Cancelled => return,
                Woken::Deadline => Box::pin(self.deadline_passed()).await,
                Woken::Exited(exit) => {
                    Box::pin(self.ended(exit)).await;
                    if !self.removers.is_empty() && Box::pin(self.remove()).await {
                        return;
                    }
                }
                Woken::Command(Command::Remove(reply)) => {
                    self.removers.push(reply);
                    if self.record().phase == Phase::Running {
                        self.kill_now().await;
                    } else if Box::pin(self.remove()).await {
                        return;
                    }
                }
                Woken::Command(command) => Box::pin(self.execute(command)).await,
            }
        }
    }

    async fn next(&mut self) -> Woken {
        let running = (self.record().phase == Phase::Running).then(|| process_id(&self.record())).transpose();
        let (node, deadline) = (self.node.clone(), self.stopping.as_ref().map(|stopping| stopping.deadline));
        let exited = async move {
            match running {
                Ok(Some(id)) => node.processes.exited(&id).await,
                _ => pending().await,
            }
        };
        let passed = async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = self.node.cancel.cancelled() => Woken::Cancelled,
            exit = exited => Woken::Exited(exit),
            () = passed => Woken::Deadline,
            command = self.commands.recv() => command.map_or(Woken::Cancelled, Woken::Command),
        }
    }

    fn record(&self) -> Arc<ContainerRecord> {
        self.container.record()
    }

    async fn set(&self, record: ContainerRecord, durability: Durability) -> Outcome<()> {
        create::save(&self.node, &record, durability).await?;
        self.container.record.send_replace(Arc::new(record));
        Ok(())
    }

    async fn execute(&mut self, command: Command) {
        match command {
            Command::Start(reply) => drop(reply.send(self.start().await)),
            Command::Stop { grace, reply } => self.stop(grace, reply).await,
            Command::Update { resources, reply } => drop(reply.send(self.update(*resources).await)),
            Command::ReopenLog(reply) => drop(reply.send(self.reopen_log().await)),
            // Served by the loop.
            Command::Remove(reply) => self.removers.push(reply),
        }
    }

    async fn start(&mut self) -> Outcome<()> {
        let record = self.record();
        if record.phase != Phase::Created {
            let state = status::state(&record).as_str_name();
            return Err(Fault::Precondition(format!(
                "container is in {state} state: only a created one can be started"
            )));
        }
        let sandbox = self.node.sandbox(record.sandbox.as_str())?;
        if sandbox.record().phase != crate::sandbox::Phase::Ready {
            return Err(Fault::Precondition(format!("sandbox container {} is not running", record.sandbox)));
        }
        match start::start(&self.node, &record, &|_| Ok(())).await {
            Ok(Started { running, io }) => {
                self.container.set_io(Some(io));
                let mut record = (*record).clone();
                record.phase = Phase::Running;
                record.pid = running.pid;
                record.started_at = running.started_at_nanoseconds.try_into().unwrap_or(i64::MAX);
                self.set(record, Durability::Process).await?;
                self.node.announce(&self.container, v1::ContainerEventType::ContainerStartedEvent);
                Ok(())
            }
            Err(fault) => {
                let mut record = (*record).clone();
                record.phase = Phase::Exited;
                record.exit_code = START_FAILED_CODE;
                record.reason = status::START_ERROR.to_owned();
                record.message = fault.to_string();
                record.finished_at = clock::now();
                self.set(record, Durability::Power).await?;
                self.node.announce(&self.container, v1::ContainerEventType::ContainerStoppedEvent);
                Err(fault)
            }
        }
    }

    /// Answers when the process is gone. A second stop can only shorten the grace.
    async fn stop(&mut self, grace: Duration, reply: Reply<()>) {
        let record = self.record();
        if record.phase != Phase::Running {
            drop(reply.send(Ok(())));
            return;
        }
        let deadline = Instant::now() + grace;
        match &mut self.stopping {
            Some(stopping) => {
                stopping.replies.push(reply);
                if !stopping.killed {
                    stopping.deadline = stopping.deadline.min(deadline);
                }
            }
            None => {
                if !grace.is_zero()
                    && let Ok(id) = process_id(&record)
                    && let Err(error) = self.node.processes.signal(&id, record.stop_signal).await
                {
                    tracing::warn!(container = %record.id, %error, "sending the stop signal");
                }
                self.stopping = Some(Stopping { deadline, killed: false, replies: vec![reply] });
            }
        }
    }

    async fn kill_now(&mut self) {
        let stopping = self.stopping.get_or_insert(Stopping {
            deadline: Instant::now(),
            killed: false,
            replies: Vec::new(),
        });
        if !stopping.killed {
            stopping.deadline = Instant::now();
        }
    }

    /// The grace is over: SIGKILL to everything in the cgroup. Over again: the kernel does not let go.
    async fn deadline_passed(&mut self) {
        let record = self.record();
        let Some(stopping) = &mut self.stopping else { return };
        if stopping.killed {
            let text =
                format!("container {} is still running {} s after SIGKILL", record.id, KILL_LIMIT.as_secs());
            for reply in stopping.replies.drain(..).chain(self.removers.drain(..)) {
                drop(reply.send(Err(Fault::Deadline(text.clone()))));
            }
            self.stopping = None;
            return;
        }
        stopping.killed = true;
        stopping.deadline = Instant::now() + KILL_LIMIT;
        if let Err(error) = self.kill(&record).await {
            tracing::warn!(container = %record.id, %error, "killing a container");
        }
    }

    async fn kill(&self, record: &ContainerRecord) -> Outcome<()> {
        let id = process_id(record)?;
        self.node.processes.signal(&id, signal::KILL).await.doing(|| "sending SIGKILL".into())?;
        // What shares a PID namespace with others does not end with its first process.
        let (layout, path) = (self.node.layout.clone(), record.cgroup.clone());
        blocking(move || match Cgroup::open(&layout, &path) {
            Ok(cgroup) => cgroup.kill().doing(|| "killing the container's cgroup".into()),
            Err(_) => Ok(()),
        })
        .await
    }

    /// The process is gone: complete the log, read why, free what it used, tell.
    async fn ended(&mut self, exit: Exit) {
        let record = self.record();
        let (oom_kills, removed) = self.end_cgroup(&record);
        // Nobody writes any more once the count is here.
        let oom_kills = oom_kills.await.unwrap_or(0);
        if let Some(io) = self.container.io() {
            if tokio::time::timeout(DRAIN_LIMIT, io.drained()).await.is_ok() {
                io.discard();
            } else {
                tracing::warn!(container = %record.id, "the log is not complete yet: its disk or the streams are slow");
                io.close().await;
            }
            self.container.set_io(None);
        }
        if let Err(error) = removed.await {
            tracing::warn!(container = %record.id, %error, "ending a container's cgroup");
        }
        let mut next = (*record).clone();
        next.phase = Phase::Exited;
        next.pid = 0;
        next.exit_code = exit.code();
        next.finished_at = exit.at_nanoseconds.try_into().unwrap_or(i64::MAX);
        next.reason = reason(&exit, oom_kills).to_owned();
        if !exit.known() {
            next.message = "the process ended while neither daemon nor keeper could see how".to_owned();
        }
        if let Err(error) = self.set(next.clone(), Durability::Power).await {
            tracing::error!(container = %record.id, %error, "checkpointing an exit");
            self.container.record.send_replace(Arc::new(next));
        }
        self.node.announce(&self.container, v1::ContainerEventType::ContainerStoppedEvent);
        for reply in self.stopping.take().into_iter().flat_map(|stopping| stopping.replies) {
            drop(reply.send(Ok(())));
        }
        if let Ok(id) = process_id(&record) {
            self.node.processes.forget(&id).await;
        }
    }

    /// Ends what is left in the cgroup and removes it. Says how often the OOM killer struck in it, as soon as nobody is in it: with a
    /// PID namespace that others have too, what ran in the background outlives the process and may write until it is gone.
    fn end_cgroup(
        &self,
        record: &ContainerRecord,
    ) -> (oneshot::Receiver<u64>, impl Future<Output = Outcome<()>> + use<>) {
        let (layout, path) = (self.node.layout.clone(), record.cgroup.clone());
        let (tell, told) = oneshot::channel();
        let removed = tokio::spawn(blocking(move || {
            let Ok(cgroup) = Cgroup::open(&layout, &path) else { return Ok(()) };
            let kills = cgroup.oom_kills().unwrap_or(0);
            let kill = || cgroup.kill().doing(|| "killing what is left in the container's cgroup".into());
            let removing = || "removing the container's cgroup".to_owned();
            // Whoever has left before it is told needs no answer.
            if cgroup.is_populated() == Some(false) {
                let _ = tell.send(kills);
                if cgroup.delete_if_empty().doing(removing)? {
                    return Ok(());
                }
                // Somebody is in a v1 tree alone.
                kill()?;
                return cgroup.delete().doing(removing);
            }
            // Killing does not wait for the end; removing does.
            let removed = kill().and_then(|()| cgroup.delete().doing(removing));
            let _ = tell.send(kills);
            removed
        }));
        let removed = async move {
            removed.await.unwrap_or_else(|error| Err(Fault::failed("a worker of the runtime", error)))
        };
        (told, removed)
    }

    async fn update(&self, update: v1::LinuxContainerResources) -> Outcome<()> {
        let record = self.record();
        if record.phase == Phase::Exited {
            return Err(Fault::Precondition(format!("container {} is in CONTAINER_EXITED state", record.id)));
        }
        let merged = merge_update(&record.resources, &update);
        let change = translate_resources(&update, &mut Vec::new())?;
        let mut next = (*record).clone();
        next.resources = merged.clone();
        if record.phase == Phase::Running {
            let (layout, path) = (self.node.layout.clone(), record.cgroup.clone());
            blocking(move || {
                let cgroup =
                    Cgroup::open(&layout, &path).doing(|| "opening the container's cgroup".into())?;
                oci::cgroup::update(&cgroup, &change).doing(|| "failed to update resources".into())
            })
            .await?;
        }
        self.rewrite_specification(&merged).await?;
        self.set(next, Durability::Process).await
    }

    /// What is in force is what the specification says, also for a start that is yet to come.
    async fn rewrite_specification(&self, resources: &v1::LinuxContainerResources) -> Outcome<()> {
        let mut specification = create::specification(&self.node, &self.container).await?;
        let mut rules = start::resources_of(&specification).devices().clone().unwrap_or_default();
        let resources = translate_resources(resources, &mut rules)?;
        if let Some(linux) = specification.linux_mut() {
            linux.set_resources(Some(resources));
        }
        let path = self.node.container_records.folder(self.container.id.as_str()).join(create::SPECIFICATION);
        blocking(move || {
            let text = serde_json::to_vec(&specification).doing(|| "writing the specification".into())?;
            crate::record::replace(&path, &text, Durability::Process)
                .doing(|| format!("writing {}", path.display()))
        })
        .await
    }

    async fn reopen_log(&self) -> Outcome<()> {
        self.container.running()?;
        match self.container.io() {
            Some(io) => io.reopen_log().await.doing(|| "reopening the container's log".into()),
            None => Err(Fault::Precondition(format!("container {} has no streams", self.container.id))),
        }
    }

    /// Removes a container that does not run. True when it is gone.
    async fn remove(&mut self) -> bool {
        let record = self.record();
        let removed = create::take_back(&self.node, &record.id).await;
        let gone = removed.is_ok();
        if gone {
            self.container.removed.store(true, Ordering::Release);
            self.node.containers.remove(record.id.as_str());
            self.node.container_names.release(&record.name, record.id.as_str());
            self.node.announce(&self.container, v1::ContainerEventType::ContainerDeletedEvent);
        }
        let text = removed.err().map(|fault| fault.to_string());
        for reply in self.removers.drain(..) {
            let answer = text.clone().map_or(Ok(()), |text| Err(Fault::failed("removing a container", text)));
            drop(reply.send(answer));
        }
        gone
    }
}

fn reason(exit: &Exit, oom_kills: u64) -> &'static str {
    match (exit.known(), exit.code(), oom_kills) {
        (false, ..) => status::UNKNOWN,
        (_, 0, _) => status::COMPLETED,
        (_, _, 0) => status::ERROR,
        _ => status::OOM_KILLED,
    }
}

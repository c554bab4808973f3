//! The owner of a sandbox: executes its commands one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cri_api::v1;
use futures::future::join_all;
use sys::cgroup::Cgroup;
use tokio::sync::{mpsc, watch};

use super::execute::{Executor, blocking};
use super::plan::{Lasts, plan};
use super::{COMMANDS_MAX, Command, Phase, Sandbox, SandboxRecord, files, init};
use crate::container;
use crate::fault::{Doing as _, Fault, Outcome};
use crate::node::Node;
use crate::process::ProcessId;
use crate::record::Durability;

struct Owner {
    node: Arc<Node>,
    sandbox: Arc<Sandbox>,
    commands: mpsc::Receiver<Command>,
    /// The pod's init, while it runs.
    init: Option<(ProcessId, i32)>,
}

/// Starts the owner of a sandbox that exists; `init` is its init if it has one already.
pub fn start(node: &Arc<Node>, record: SandboxRecord, init: Option<(ProcessId, i32)>) -> Arc<Sandbox> {
    let (sender, commands) = mpsc::channel(COMMANDS_MAX);
    let (watched, _) = watch::channel(Arc::new(record.clone()));
    let sandbox = Arc::new(Sandbox {
        id: record.id,
        record: watched,
        commands: sender,
        removed: AtomicBool::new(false),
    });
    node.sandboxes.insert(sandbox.id.as_str(), sandbox.clone());
    let owner = Owner { node: node.clone(), sandbox: sandbox.clone(), commands, init };
    node.tasks.spawn(owner.run());
    sandbox
}

impl Owner {
    /// What it does now and then has room of its own while it is done: an owner mostly waits, and there are many.
    async fn run(mut self) {
        loop {
            let init = self.init.clone();
            let ended = async {
                match &init {
                    Some((id, _)) => drop(self.node.processes.exited(id).await),
                    None => futures::future::pending().await,
                }
            };
            let command = tokio::select! {
                () = self.node.cancel.cancelled() => return,
                () = ended => None,
                command = self.commands.recv() => match command {
                    Some(command) => Some(command),
                    None => return,
                },
            };
            match command {
                None => Box::pin(self.init_ended()).await,
                Some(Command::Stop(reply)) => drop(reply.send(Box::pin(self.stop()).await)),
                Some(Command::Update { overhead, resources, reply }) => {
                    drop(reply.send(Box::pin(self.update(overhead, resources)).await));
                }
                Some(Command::Init(reply)) => drop(reply.send(Box::pin(self.ensure_init()).await)),
                Some(Command::Remove(reply)) => {
                    let removed = Box::pin(self.remove()).await;
                    let gone = removed.is_ok();
                    drop(reply.send(removed));
                    if gone {
                        return;
                    }
                }
            }
        }
    }

    fn record(&self) -> SandboxRecord {
        (*self.sandbox.record()).clone()
    }

    async fn set(&self, record: SandboxRecord, durability: Durability) -> Outcome<()> {
        let (records, copy) = (self.node.sandbox_records.clone(), record.clone());
        blocking(move || {
            records.save(copy.id.as_str(), &copy, durability).doing(|| "checkpointing a sandbox".into())
        })
        .await?;
        self.sandbox.record.send_replace(Arc::new(record));
        Ok(())
    }

    /// Idempotent: a sandbox that is stopped already is stopped again, for what may have been left.
    async fn stop(&mut self) -> Outcome<()> {
        let containers = self.node.containers_of(&self.sandbox.id);
        let stopped = join_all(containers.iter().map(|container| {
            container.ask(|reply| container::Command::Stop { grace: std::time::Duration::ZERO, reply })
        }))
        .await;
        for outcome in stopped {
            match outcome {
                // Removed meanwhile.
                Ok(()) | Err(Fault::NotFound(_)) => {}
                Err(fault) => return Err(fault),
            }
        }
        self.end_init().await?;
        let mut record = self.record();
        let was_ready = record.phase == Phase::Ready;
        record.phase = Phase::NotReady;
        self.set(record.clone(), Durability::Process).await?;
        let steps = plan(&record, &self.node.paths, &files::HostFiles::default());
        self.executor().undo(&record, &steps, Lasts::WhileReady).await?;
        record.attached = None;
        self.set(record, Durability::Process).await?;
        if was_ready {
            self.node.announce_sandbox(&self.sandbox, v1::ContainerEventType::ContainerStoppedEvent);
        }
        Ok(())
    }

    async fn remove(&mut self) -> Outcome<()> {
        self.stop().await?;
        for container in self.node.containers_of(&self.sandbox.id) {
            match container.ask(container::Command::Remove).await {
                Ok(()) | Err(Fault::NotFound(_)) => {}
                Err(fault) => return Err(fault),
            }
        }
        let record = self.record();
        let steps = plan(&record, &self.node.paths, &files::HostFiles::default());
        self.executor().undo(&record, &steps, Lasts::WhileKnown).await?;
        let (records, id) = (self.node.sandbox_records.clone(), record.id.clone());
        blocking(move || records.remove(id.as_str()).doing(|| "removing a sandbox's record".into())).await?;
        self.sandbox.removed.store(true, Ordering::Release);
        self.node.sandboxes.remove(record.id.as_str());
        self.node.sandbox_names.release(&record.name, record.id.as_str());
        self.node.announce_sandbox(&self.sandbox, v1::ContainerEventType::ContainerDeletedEvent);
        self.node.gone.notify_one();
        Ok(())
    }

    /// What is not given stays.
    async fn update(
        &self,
        overhead: Option<Box<v1::LinuxContainerResources>>,
        resources: Option<Box<v1::LinuxContainerResources>>,
    ) -> Outcome<()> {
        let mut record = self.record();
        let linux = record.config.linux.get_or_insert_default();
        linux.overhead = overhead.map(|new| *new).or(linux.overhead.take());
        linux.resources = resources.map(|new| *new).or(linux.resources.take());
        self.set(record, Durability::Process).await
    }

    fn executor(&self) -> Executor {
        self.node.sandbox_executor()
    }

    /// The PID of the pod's init.
    async fn ensure_init(&mut self) -> Outcome<i32> {
        if let Some((_, pid)) = &self.init {
            return Ok(*pid);
        }
        let record = self.record();
        if record.phase != Phase::Ready {
            return Err(Fault::Precondition(format!("sandbox {} is not ready", record.id)));
        }
        let id = init::process_id(&record)?;
        let root = self.node.paths.files(&record.id).join("init");
        let path = self.init_cgroup(&record);
        let (layout, folder, cgroup_path) = (self.node.layout.clone(), root.clone(), path.clone());
        let user = record.user_namespace();
        let cgroup = blocking(move || {
            crate::record::make_folder(&folder).doing(|| "creating the root of the pod's init".into())?;
            if let Some(user) = &user {
                container::create::own_root(&folder, user)?;
            }
            Cgroup::create(&layout, &cgroup_path).doing(|| "creating the cgroup of the pod's init".into())
        })
        .await?;
        let floor = self.node.host.oom_score_floor;
        let plan = init::plan(&record, &self.node.executable, root, (&path, cgroup.v1_procs()), floor)?;
        let directory = cgroup.v2_dir().doing(|| "opening the cgroup of the pod's init".into())?;
        let launched = self.node.processes.launch(&id, &plan, init::io()?, directory).await;
        match launched {
            Ok(running) => {
                self.init = Some((id, running.pid));
                Ok(running.pid)
            }
            Err(error) => {
                blocking(move || cgroup.delete().doing(|| "removing the cgroup of the pod's init".into()))
                    .await?;
                Err(Fault::failed("starting the pod's init", error))
            }
        }
    }

    fn init_cgroup(&self, record: &SandboxRecord) -> String {
        format!("{}/{}", record.cgroup_parent.trim_end_matches('/'), record.id)
    }

    async fn end_init(&mut self) -> Outcome<()> {
        if let Some((id, _)) = self.init.take() {
            self.node
                .processes
                .signal(&id, container::signal::KILL)
                .await
                .doing(|| "ending the pod's init".into())?;
            self.node.processes.exited(&id).await;
            self.node.processes.forget(&id).await;
        }
        let (layout, path) = (self.node.layout.clone(), self.init_cgroup(&self.record()));
        blocking(move || layout.delete(&path).doing(|| "removing the cgroup of the pod's init".into())).await
    }

    /// Nobody ends it but us: with it, everything that shared its PID namespace is gone.
    async fn init_ended(&mut self) {
        tracing::warn!(sandbox = %self.sandbox.id, "the pod's init ended; its containers are stopped");
        if let Err(fault) = self.stop().await {
            tracing::warn!(sandbox = %self.sandbox.id, error = %fault, "stopping a sandbox whose init ended");
        }
    }
}

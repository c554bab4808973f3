//! Making and taking away a sandbox, step by step. Decides nothing.
//!
//! `make` undoes what it did when a step fails; `undo` goes on after a failure and reports the first.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use nix::mount::{MntFlags, MsFlags};
use sys::cgroup::{Cgroup, Layout};
use sys::netns;
use tokio::sync::Semaphore;

use super::plan::{Lasts, Step};
use super::{SandboxRecord, network};
use crate::cni::{Attached, Networks};
use crate::fault::{Doing as _, Fault, Outcome};
use crate::migrations::Migrations;
use crate::record::{Durability, make_folder, replace};

/// What steps act on.
#[derive(Clone)]
pub struct Executor {
    pub layout: Arc<Layout>,
    pub networks: Arc<Networks>,
    pub migrations: Arc<Migrations>,
}

/// Called before step k; a test makes it fail.
pub type Before<'a> = &'a (dyn Fn(usize) -> Outcome<()> + Sync);

impl Executor {
    /// Executes the steps in order; the answer is the network's, if there is one.
    pub async fn make(
        &self,
        record: &SandboxRecord,
        steps: &[Step],
        before: Before<'_>,
    ) -> Outcome<Option<Attached>> {
        let mut attached = None;
        for (k, step) in steps.iter().enumerate() {
            let done = match before(k) {
                Ok(()) => self.execute(record, step, &mut attached).await,
                Err(fault) => Err(fault),
            };
            if let Err(fault) = done {
                let mut record = record.clone();
                record.attached = attached;
                if let Err(undo) = self.undo(&record, &steps[..=k], Lasts::WhileKnown).await {
                    tracing::warn!(sandbox = %record.id, error = %undo, "taking back a sandbox that failed");
                }
                return Err(fault);
            }
        }
        Ok(attached)
    }

    /// Takes back, last first, the steps that last no longer than `upto`.
    pub async fn undo(&self, record: &SandboxRecord, steps: &[Step], upto: Lasts) -> Outcome<()> {
        let mut failed = None;
        for step in steps.iter().rev().filter(|step| step.lasts() <= upto) {
            if let Err(fault) = self.take_back(record, step).await {
                failed = failed.or(Some(fault));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn execute(
        &self,
        record: &SandboxRecord,
        step: &Step,
        attached: &mut Option<Attached>,
    ) -> Outcome<()> {
        if *step == Step::Network {
            let pod = network::pod(record)?;
            let result = self.networks.attach(&pod).await;
            *attached = Some(
                result.doing(|| format!("failed to setup network for sandbox {:?}", record.id.as_str()))?,
            );
            return Ok(());
        }
        if *step == Step::Migrations {
            self.migrations.expect();
            return Ok(());
        }
        let (layout, step) = (self.layout.clone(), step.clone());
        blocking(move || do_step(&layout, &step)).await
    }

    async fn take_back(&self, record: &SandboxRecord, step: &Step) -> Outcome<()> {
        if *step == Step::Network {
            let Some(attached) = &record.attached else { return Ok(()) };
            let pod = network::pod(record)?;
            let what = || format!("failed to destroy network for sandbox {:?}", record.id.as_str());
            return self.networks.detach(&pod, attached).await.doing(what);
        }
        let (layout, step) = (self.layout.clone(), step.clone());
        blocking(move || undo_step(&layout, &step)).await
    }
}

fn do_step(layout: &Layout, step: &Step) -> Outcome<()> {
    match step {
        Step::Cgroup { path } => {
            Cgroup::create(layout, path).map(drop).doing(|| format!("creating cgroup {path}"))
        }
        Step::Folder { path } => make_folder(path).doing(|| format!("creating {}", path.display())),
        Step::File { path, content } => {
            replace(path, content.as_bytes(), Durability::Process)
                .doing(|| format!("writing {}", path.display()))?;
            readable(path).doing(|| format!("opening {} to all", path.display()))
        }
        Step::SharedMemory { path, bytes } => {
            shared_memory(path, *bytes).doing(|| format!("mounting shared memory at {}", path.display()))
        }
        Step::Namespaces { pins, desired } => {
            make_folder(pins).doing(|| format!("creating {}", pins.display()))?;
            netns::create(desired).map_err(|error| match error {
                netns::NetnsError::Sysctl { .. } | netns::NetnsError::Hostname { .. } => {
                    Fault::invalid(error.to_string())
                }
                other => Fault::failed("making the namespaces of the sandbox", other),
            })
        }
        Step::LogFolder { path } => fs::create_dir_all(path)
            .doing(|| format!("failed to create sandbox log directory {}", path.display())),
        Step::Network | Step::Migrations => Ok(()),
    }
}

fn undo_step(layout: &Layout, step: &Step) -> Outcome<()> {
    match step {
        Step::Cgroup { path } => {
            layout.delete(path).doing(|| format!("removing cgroup {path}"))?;
            layout.prune_parents(path).doing(|| format!("removing empty parents of cgroup {path}"))
        }
        Step::Folder { path } => {
            absent(fs::remove_dir_all(path)).doing(|| format!("removing {}", path.display()))
        }
        Step::File { path, .. } => {
            absent(fs::remove_file(path)).doing(|| format!("removing {}", path.display()))
        }
        Step::SharedMemory { path, .. } => {
            unmount(path).doing(|| format!("unmounting {}", path.display()))?;
            absent(fs::remove_dir(path)).doing(|| format!("removing {}", path.display()))
        }
        Step::Namespaces { pins, desired } => {
            let user = desired.user.iter().map(|user| &user.path);
            for path in [&desired.net, &desired.ipc, &desired.uts].into_iter().flatten().chain(user) {
                netns::delete(path).doing(|| format!("unpinning {}", path.display()))?;
            }
            absent(fs::remove_dir(pins)).doing(|| format!("removing {}", pins.display()))
        }
        Step::Network | Step::LogFolder { .. } | Step::Migrations => Ok(()),
    }
}

fn shared_memory(path: &Path, bytes: u64) -> io::Result<()> {
    make_folder(path)?;
    let options = format!("mode=1777,size={bytes}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    nix::mount::mount(Some("shm"), path, Some("tmpfs"), flags, Some(options.as_str()))?;
    Ok(())
}

/// Containers of any user read these.
fn readable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

/// Not mounted, or not there, is success.
pub fn unmount(path: &Path) -> io::Result<()> {
    match nix::mount::umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Threads that wait for the kernel or a disk, over all pods: a burst of them is not to be a burst of stacks.
const WAITERS_MAX: usize = 32;

static WAITERS: Semaphore = Semaphore::const_new(WAITERS_MAX);

/// Runs something that waits for the kernel or a disk away from the event loop. It must not wait for another of its kind.
pub async fn blocking<T: Send + 'static>(act: impl FnOnce() -> Outcome<T> + Send + 'static) -> Outcome<T> {
    let place = WAITERS.acquire().await;
    let with_place = move || {
        let _until_done = place;
        act()
    };
    match tokio::task::spawn_blocking(with_place).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Fault::failed("a worker of the runtime", error)),
    }
}

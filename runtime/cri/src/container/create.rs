//! CreateContainer: from a request to directories and a specification on disk. Nothing runs yet.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cri_api::v1;
use cri_api::v1::NamespaceMode;
use image::Image;

use super::plan::{self, Step};
use super::spec::{self, Inputs, SandboxFacts};
use super::user::{ResolvedUser, Wanted};
use super::{Container, ContainerRecord, Phase, image_volume, rootfs, signal, start, validate};
use crate::fault::{Doing as _, Fault, Outcome};
use crate::id::ContainerId;
use crate::node::Node;
use crate::process::ProcessId;
use crate::record::{Durability, replace};
use crate::sandbox::execute::{Before, blocking};
use crate::sandbox::{self, Sandbox, SandboxRecord, files};
use crate::{clock, name};

/// The specification's file beside the record.
pub const SPECIFICATION: &str = "spec.json";

/// Makes a container, or leaves nothing.
pub async fn create(
    node: &Arc<Node>,
    sandbox: &Sandbox,
    config: v1::ContainerConfig,
    before: Before<'_>,
) -> Outcome<ContainerId> {
    validate::config(&config, &node.host)?;
    let pod = sandbox.record();
    if pod.phase != sandbox::Phase::Ready {
        return Err(Fault::Precondition(format!(
            "sandbox container {} is not running: it was stopped",
            pod.id
        )));
    }
    let image = find_image(node, &config)?;
    let record = desired(&pod, config, &image)?;
    let id = record.id.clone();
    node.container_names.reserve("container", &record.name, id.as_str())?;
    node.migrations.expect();
    let name = record.name.clone();
    let made = Maker { node, pod: &pod, image: &image }.make(record, before).await;
    match made {
        Ok(record) => {
            let container = super::own(node, record, super::Adopted::No);
            node.announce(&container, v1::ContainerEventType::ContainerCreatedEvent);
            Ok(id)
        }
        Err(fault) => {
            node.container_names.release(&name, id.as_str());
            Err(fault)
        }
    }
}

fn find_image(node: &Node, config: &v1::ContainerConfig) -> Outcome<Image> {
    let asked = config.image.clone().unwrap_or_default().image;
    node.images.get(&asked).ok_or_else(|| {
        Fault::NotFound(format!("failed to resolve image {asked:?}: not found: pull it first"))
    })
}

/// The record of a container to be.
fn desired(pod: &SandboxRecord, config: v1::ContainerConfig, image: &Image) -> Outcome<ContainerRecord> {
    let metadata = config.metadata.clone().unwrap_or_default();
    let id = ContainerId::random().doing(|| "making an id".into())?;
    let log_path = match (pod.config.log_directory.as_str(), config.log_path.as_str()) {
        ("", _) | (_, "") => String::new(),
        (directory, path) => format!("{}/{path}", directory.trim_end_matches('/')),
    };
    let linux = config.linux.clone().unwrap_or_default();
    Ok(ContainerRecord {
        sandbox: pod.id.clone(),
        name: name::of_container(&metadata, &pod.metadata()),
        phase: Phase::Making,
        image_id: image.id.to_string(),
        image_ref: image.digests.first().cloned().unwrap_or_else(|| image.id.to_string()),
        user: ResolvedUser::default(),
        cgroup: format!("{}/{id}", pod.cgroup_parent.trim_end_matches('/')),
        log_path,
        stop_signal: stop_signal(&config, image),
        resources: linux.resources.unwrap_or_default(),
        pid: 0,
        created_at: clock::now(),
        started_at: 0,
        finished_at: 0,
        exit_code: 0,
        reason: String::new(),
        message: String::new(),
        config,
        id,
    })
}

/// The request's, the image's, SIGTERM.
fn stop_signal(config: &v1::ContainerConfig, image: &Image) -> i32 {
    signal::from_cri(config.stop_signal())
        .or_else(|| signal::parse(&image.config.stop_signal))
        .unwrap_or(signal::DEFAULT)
}

struct Maker<'a> {
    node: &'a Arc<Node>,
    pod: &'a SandboxRecord,
    image: &'a Image,
}

impl Maker<'_> {
    async fn make(&self, mut record: ContainerRecord, before: Before<'_>) -> Outcome<ContainerRecord> {
        let steps = plan::create(&record);
        for (k, step) in steps.iter().enumerate() {
            let done = match before(k) {
                Ok(()) => self.execute(step, &mut record).await,
                Err(fault) => Err(fault),
            };
            if let Err(fault) = done {
                if let Err(undo) = take_back(self.node, &record.id).await {
                    tracing::warn!(container = %record.id, error = %undo, "taking back a container that failed");
                }
                return Err(fault);
            }
        }
        Ok(record)
    }

    async fn execute(&self, step: &Step, record: &mut ContainerRecord) -> Outcome<()> {
        match step {
            Step::Record => save(self.node, record, Durability::Process).await,
            Step::Snapshot => {
                let id = record.id.as_str();
                let volumes = image_volume::find(self.node, &record.config.mounts)?;
                image_volume::note(&mut record.config.mounts, &volumes);
                let made = self.node.images.snapshot_with(id, &self.image.id, volumes).await;
                let made = made.doing(|| "making the container's root file system".into())?;
                let Some(user) = self.pod.user_namespace() else { return Ok(()) };
                blocking(move || own_root(&made.upper, &user)).await
            }
            Step::LogFolder { path } => {
                let path = path.clone();
                blocking(move || {
                    std::fs::create_dir_all(&path)
                        .doing(|| format!("creating log directory {}", path.display()))
                })
                .await
            }
            Step::MountSources => {
                let mounts = record.config.mounts.clone();
                let snapshot = self.node.images.snapshot_of(record.id.as_str())?;
                let user = self.pod.user_namespace();
                blocking(move || {
                    spec::prepare_sources(&mounts)?;
                    if let Some(user) = user {
                        sandbox::user::refuse_unmapped(&mounts, &user.path)?;
                    }
                    image_volume::look(&mounts, &snapshot)
                })
                .await
            }
            Step::Specification => self.specification(record).await,
            Step::Cgroup { .. } | Step::Streams | Step::Launch => Ok(()),
        }
    }

    /// Looks up the user in the image's own files, then writes what will run.
    async fn specification(&self, record: &mut ContainerRecord) -> Outcome<()> {
        let snapshot = self.node.images.snapshot_of(record.id.as_str())?;
        let linux = record.config.linux.clone().unwrap_or_default();
        let wanted = Wanted::of(&linux.security_context.unwrap_or_default(), &self.image.config.user)?;
        record.user = blocking(move || {
            let root = rootfs::view(&snapshot.lower)?;
            wanted.resolve(root.as_fd())
        })
        .await?;
        if let Some(user) = self.pod.user_namespace() {
            user.on_host(record.user.uid, record.user.gid)?;
        }
        let shared = pid_namespace(self.node, record).await?;
        let pid = shared.map(|(path, _)| path);
        let (node, pod, image) = (self.node.clone(), self.pod.clone(), self.image.clone());
        let mut copy = record.clone();
        let specification = blocking(move || {
            let inputs = Inputs {
                config: &copy.config,
                sandbox: sandbox_facts(&node, &pod, pid),
                image: &image.config,
                user: &copy.user,
                host: &node.host,
                cgroup: &copy.cgroup,
            };
            let specification = spec::build(&inputs)?;
            let text = serde_json::to_vec(&specification).doing(|| "writing the specification".into())?;
            let path = node.container_records.folder(copy.id.as_str()).join(SPECIFICATION);
            replace(&path, &text, Durability::Process).doing(|| format!("writing {}", path.display()))?;
            copy.phase = Phase::Created;
            Ok(copy)
        })
        .await?;
        *record = specification;
        save(self.node, record, Durability::Process).await
    }
}

/// The PID namespace to join, by the process that has it: the pod's init (which is started if need be), or another
/// container's. The name is the keeper's.
pub async fn pid_namespace(
    node: &Arc<Node>,
    record: &ContainerRecord,
) -> Outcome<Option<(PathBuf, ProcessId)>> {
    let linux = record.config.linux.clone().unwrap_or_default();
    let options = linux.security_context.and_then(|security| security.namespace_options).unwrap_or_default();
    let of = |pid: i32, id| Some((PathBuf::from(format!("/proc/{pid}/ns/pid")), id));
    match options.pid() {
        NamespaceMode::Container | NamespaceMode::Node => Ok(None),
        NamespaceMode::Pod => {
            let sandbox = node.sandbox(record.sandbox.as_str())?;
            let pid = sandbox.ask(sandbox::Command::Init).await?;
            Ok(of(pid, sandbox::init::process_id(&sandbox.record())?))
        }
        NamespaceMode::Target => {
            let target = node.container(&options.target_id)?;
            if target.sandbox != record.sandbox {
                return Err(Fault::invalid(format!(
                    "target container {} is not in this sandbox",
                    options.target_id
                )));
            }
            let target = target.running()?;
            Ok(of(target.pid, start::process_id(&target)?))
        }
    }
}

fn sandbox_facts<'a>(node: &Node, pod: &'a SandboxRecord, pid: Option<PathBuf>) -> SandboxFacts<'a> {
    let folder = node.paths.files(&pod.id);
    let shm = if pod.ipc.is_some() { folder.join(files::SHM) } else { PathBuf::from("/dev/shm") };
    let files = BTreeMap::from([
        ("/etc/hostname", folder.join(files::HOSTNAME)),
        ("/etc/hosts", folder.join(files::HOSTS)),
        ("/etc/resolv.conf", folder.join(files::RESOLV_CONF)),
        ("/dev/shm", shm),
    ]);
    SandboxFacts {
        id: pod.id.as_str(),
        config: &pod.config,
        hostname: &pod.hostname,
        net: pod.net.clone(),
        ipc: pod.ipc.clone(),
        uts: pod.uts.clone(),
        pid,
        user: pod.user_namespace(),
        files,
    }
}

/// In a user namespace the container's own ids are stored, so its root folder must have them from the start.
pub fn own_root(upper: &std::path::Path, user: &sandbox::UserNamespace) -> Outcome<()> {
    use std::os::unix::fs::MetadataExt as _;
    let what = || format!("giving {} to the pod's ids", upper.display());
    let found = std::fs::metadata(upper).doing(what)?;
    let (uid, gid) = user.on_host(found.uid(), found.gid())?;
    std::os::unix::fs::chown(upper, Some(uid), Some(gid)).doing(what)
}

/// Checkpoints.
pub async fn save(node: &Node, record: &ContainerRecord, durability: Durability) -> Outcome<()> {
    let (records, copy) = (node.container_records.clone(), record.clone());
    blocking(move || {
        records.save(copy.id.as_str(), &copy, durability).doing(|| "checkpointing a container".into())
    })
    .await
}

/// Removes what a container that does not run has: its root file system, then its record.
pub async fn take_back(node: &Node, id: &ContainerId) -> Outcome<()> {
    node.images.drop_snapshot(id.as_str()).await?;
    let (records, id) = (node.container_records.clone(), id.clone());
    blocking(move || records.remove(id.as_str()).doing(|| "removing a container's record".into())).await
}

/// The specification that was written.
pub async fn specification(node: &Node, container: &Container) -> Outcome<oci_spec::runtime::Spec> {
    let path = specification_path(node, &container.id);
    blocking(move || read_specification(&path)).await
}

pub fn specification_path(node: &Node, container: &ContainerId) -> PathBuf {
    node.container_records.folder(container.as_str()).join(SPECIFICATION)
}

pub fn read_specification(path: &Path) -> Outcome<oci_spec::runtime::Spec> {
    let what = || format!("reading {}", path.display());
    serde_json::from_slice(&std::fs::read(path).doing(what)?).doing(what)
}

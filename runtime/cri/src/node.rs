//! Everything the calls of one node share: stores, indexes, the way to processes, the network.
//!
//! Nothing here is behind one lock: the index finds, owners act, stores guard themselves.

use std::path::PathBuf;
use std::sync::Arc;

use cri_api::v1;
use sys::cgroup::Layout;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::cni::Networks;
use crate::container::spec::HostFacts;
use crate::container::{self, Container};
use crate::events::Events;
use crate::fault::{Doing as _, Fault, Outcome};
use crate::id::SandboxId;
use crate::index::{Found, Index};
use crate::io::Streams;
use crate::migrations::Migrations;
use crate::name::Names;
use crate::options::Options;
use crate::paths::Paths;
use crate::process::{Processes, ProcessesOptions};
use crate::record::Records;
use crate::sandbox::execute::{Executor, blocking};
use crate::sandbox::{self, Sandbox};

pub struct Node {
    pub options: Options,
    pub paths: Paths,
    /// The file that becomes keepers and inits.
    pub executable: PathBuf,
    pub images: image::Store,
    pub processes: Processes,
    pub streams: Streams,
    pub layout: Arc<Layout>,
    pub host: HostFacts,
    pub networks: Arc<Networks>,
    pub migrations: Arc<Migrations>,
    pub sandboxes: Index<Sandbox>,
    pub containers: Index<Container>,
    pub sandbox_names: Names,
    pub container_names: Names,
    pub sandbox_records: Records,
    pub container_records: Records,
    pub events: Events,
    /// A pod or an image is gone, or a pull is over.
    pub gone: Notify,
    /// Owners and watchers; all end when `cancel` is cancelled.
    pub tasks: TaskTracker,
    pub cancel: CancellationToken,
}

impl Node {
    /// Opens everything; connects to the keeper or starts one. Adopts nothing yet.
    pub async fn open(options: Options) -> Outcome<Arc<Node>> {
        let paths = Paths::new(options.root.clone(), options.state.clone());
        let (copy, registries) = (paths.clone(), options.registries_dir.clone());
        let unset_seccomp = options.unset_seccomp_profile;
        let (layout, host, images, sandbox_records, container_records) = blocking(move || {
            prepare_folders(&copy)?;
            let layout = Layout::detect().doing(|| "reading the control group hierarchies".into())?;
            let host = container::spec::host_facts(layout.mode, unset_seccomp)?;
            let mut host = host;
            let images = image::Store::open(image::ImageOptions::new(copy.images(), registries))?;
            host.user_namespaces = sandbox::user::supported(&[images.root(), &copy.pod_files()]);
            let what = || "opening the records".to_owned();
            let sandboxes = Records::open(copy.sandboxes()).doing(what)?;
            let containers = Records::open(copy.containers()).doing(what)?;
            Ok((Arc::new(layout), host, images, sandboxes, containers))
        })
        .await?;
        let executable = options.executable();
        let mut keeper = ProcessesOptions::new(paths.state());
        keeper.keeper_exe = executable.clone();
        keeper.keeper_cgroup = options.keeper_cgroup.clone();
        let processes = Processes::connect(keeper).await.doing(|| "reaching the keeper".into())?;
        let streams = Streams::start(processes.clone()).doing(|| "starting the log writer".into())?;
        let networks = Arc::new(Networks::new(options.cni_conf_dir.clone(), options.cni_bin_dir.clone()));
        let tasks = TaskTracker::new();
        Ok(Arc::new(Node {
            migrations: Arc::new(Migrations::new(layout.clone(), tasks.clone())),
            options,
            paths,
            executable,
            images,
            processes,
            streams,
            layout,
            host,
            networks,
            sandboxes: Index::default(),
            containers: Index::default(),
            sandbox_names: Names::default(),
            container_names: Names::default(),
            sandbox_records,
            container_records,
            events: Events::default(),
            gone: Notify::new(),
            tasks,
            cancel: CancellationToken::new(),
        }))
    }

    pub fn sandbox(&self, name: &str) -> Outcome<Arc<Sandbox>> {
        match self.sandboxes.find(name) {
            Found::One(sandbox) => Ok(sandbox),
            Found::None => Err(Fault::no_sandbox(name)),
            Found::Several => {
                Err(Fault::invalid(format!("sandbox id {name:?} is ambiguous: give more of it")))
            }
        }
    }

    pub fn container(&self, name: &str) -> Outcome<Arc<Container>> {
        match self.containers.find(name) {
            Found::One(container) => Ok(container),
            Found::None => Err(Fault::no_container(name)),
            Found::Several => {
                Err(Fault::invalid(format!("container id {name:?} is ambiguous: give more of it")))
            }
        }
    }

    /// Containers of one sandbox, oldest first.
    pub fn containers_of(&self, sandbox: &SandboxId) -> Vec<Arc<Container>> {
        let mut owned = self.containers.all();
        owned.retain(|container| container.sandbox == *sandbox);
        owned.sort_by_key(|container| container.record().created_at);
        owned
    }

    pub fn sandbox_executor(&self) -> Executor {
        Executor {
            layout: self.layout.clone(),
            networks: self.networks.clone(),
            migrations: self.migrations.clone(),
        }
    }

    /// Tells what happened to a container, with its pod around it.
    pub fn announce(&self, container: &Container, kind: v1::ContainerEventType) {
        let sandbox = self.sandbox(container.sandbox.as_str()).ok();
        self.tell(container.id.as_str(), kind, sandbox.as_deref());
    }

    /// Tells what happened to a sandbox.
    pub fn announce_sandbox(&self, sandbox: &Sandbox, kind: v1::ContainerEventType) {
        self.tell(sandbox.id.as_str(), kind, Some(sandbox));
    }

    fn tell(&self, id: &str, kind: v1::ContainerEventType, sandbox: Option<&Sandbox>) {
        let containers = sandbox.map(|sandbox| self.containers_of(&sandbox.id)).unwrap_or_default();
        self.events.tell(v1::ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: kind.into(),
            created_at: clock::now(),
            pod_sandbox_status: sandbox.map(|sandbox| sandbox::status::status(&sandbox.record())),
            containers_statuses: containers.iter().map(|c| container::status::status(&c.record())).collect(),
        });
    }
}

/// Folders that must be there, and the one whose mounts stay in it.
fn prepare_folders(paths: &Paths) -> Outcome<()> {
    for folder in [paths.containers(), paths.sandboxes(), paths.pod_files(), paths.io()] {
        crate::record::make_folder(&folder).doing(|| format!("creating {}", folder.display()))?;
    }
    sys::netns::private_folder(&paths.namespaces()).doing(|| "preparing the folder of namespaces".into())
}

/// Runs an operation to its end, whether or not the caller stays: a dropped call must not leave half of it.
pub async fn to_the_end<T: Send + 'static>(
    node: &Node,
    operation: impl Future<Output = Outcome<T>> + Send + 'static,
) -> Outcome<T> {
    match node.tasks.spawn(operation).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Fault::failed("an operation of the runtime", error)),
    }
}

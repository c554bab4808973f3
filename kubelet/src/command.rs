//! `keelson kubelet`: everything of a node's kubelet, started and stopped together.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use client::{Backoff, Cache, Client, Config, EventRecorder, Resource, Selection, Surroundings};
use cri_api::v1;
use futures::future::BoxFuture;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::cgroups::Cgroups;
use crate::directory::Directory;
use crate::facts::NodeFacts;
use crate::images::collect::Thresholds;
use crate::images::{self, Images};
use crate::kubelet::Kubelet;
use crate::node::machine::{self, Machine};
use crate::node::{NodeKeeper, NodeOptions};
use crate::options::{Options, amounts};
use crate::paths::Paths;
use crate::pod::PodUid;
use crate::resources::Amounts;
use crate::rotation::{self, Limits};
use crate::runtime::Runtime;
use crate::server::{self, ServerOptions};
use crate::user_namespaces::UserNamespaces;
use crate::volumes::Volumes;
use crate::worker::Context;
use crate::{follow, healthz, lease, node};

/// Exit code of wrong usage or configuration.
const USAGE: u8 = 2;
const THREADS: usize = 2;
/// What the runtime told that waits to be passed on.
const TOLD: usize = 1024;
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(2);

/// Runs until SIGTERM or SIGINT; pods run on.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let options = match Options::try_parse_from(arguments) {
        Ok(options) => options,
        Err(error) => {
            // Nothing better can be done where stderr is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let configured =
        Config::read(&options.kubeconfig).map(drop).map_err(|error| format!("--kubeconfig: {error}"));
    let endpoint =
        Runtime::address(&options.container_runtime_endpoint).map(drop).map_err(|error| error.to_string());
    if let Err(error) = configured.and(endpoint) {
        eprintln!("keelson kubelet: {error}");
        return ExitCode::from(USAGE);
    }
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("keelson kubelet: starting threads: {error}");
                return ExitCode::FAILURE;
            }
        };
    match runtime.block_on(until_stopped(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keelson kubelet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn until_stopped(options: Options) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stopping = CancellationToken::new();
    let running = run(options, stopping.clone());
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return ended,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stopping.cancel();
    running.await
}

/// Keeps the node's pods until `stopping`.
pub fn run(options: Options, stopping: CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> {
    // Boxed here: an `async fn` is compiled again by each crate that awaits it, with all that it awaits.
    Box::pin(run_until(options, stopping))
}

async fn run_until(options: Options, stopping: CancellationToken) -> anyhow::Result<()> {
    let client = Client::new(Config::read(&options.kubeconfig)?, "keelson-kubelet", Surroundings::system())?;
    let runtime = Runtime::at(&options.container_runtime_endpoint)?;
    let Some(version) = wait_for(&runtime, &client, &stopping).await else { return Ok(()) };
    let node = node_options(&options, &runtime, &version).await;
    let paths = paths(&options);
    prepare_folders(&paths)?;
    let name = node.facts.name.clone();
    let events = EventRecorder::start(client.clone(), "kubelet", &name);
    let (volumes, references) =
        Volumes::new(client.clone(), paths.clone(), node.facts.clone(), events.clone());
    let labels = node::labels(&name, &node.machine.architecture, &node.labels);
    let labels = labels.into_iter().filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())));
    let context = Arc::new(Context {
        client: client.clone(),
        runtime: runtime.clone(),
        events: events.clone(),
        volumes,
        images: Images::new(runtime.clone(), client.clone(), events.clone()),
        user_namespaces: UserNamespaces::new(paths.clone(), node.facts.user_namespaces, options.max_pods),
        facts: node.facts.clone(),
        paths,
        directory: Directory::default(),
        admission: Admission::new(node.facts.allocatable.clone(), labels.collect())
            .with_sysctls(options.allowed_unsafe_sysctls.clone()),
        cgroups: Cgroups::open(&options.cgroup_root),
        cgroup_root: options.cgroup_root.clone(),
        runtime_name: version.runtime_name.clone(),
        resolv_conf: options.resolv_conf.clone(),
    });
    let mut parts = Parts { tasks: JoinSet::new(), stopping };
    let keeper = NodeKeeper::new(client, runtime, events, Arc::new(node));
    parts.start("node", keeper.run(parts.stopping.clone()));
    start_pods(&mut parts, &context, references);
    start_service(&mut parts, &options, &context);
    tracing::info!(node = name, runtime = version.runtime_name, "the kubelet runs");
    parts.ended().await
}

/// What runs together, and ends together.
struct Parts {
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
    stopping: CancellationToken,
}

impl Parts {
    fn start(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            part.await;
            (name, Ok(()))
        });
    }

    /// Waits for all. A kubelet without one of its parts would only seem to work: the first that ends, ends the others.
    async fn ended(mut self) -> anyhow::Result<()> {
        let mut failed = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok((_, Ok(()))) if self.stopping.is_cancelled() => {}
                Ok((part, Ok(()))) => failed = failed.and(Err(anyhow::anyhow!("{part} ended"))),
                Ok((_, Err(error))) => failed = failed.and(Err(error)),
                Err(error) => failed = failed.and(Err(error.into())),
            }
            self.stopping.cancel();
        }
        failed
    }
}

/// The pods, who tells of them, and the lease that says that somebody looks after them.
fn start_pods(parts: &mut Parts, context: &Arc<Context>, references: mpsc::Receiver<PodUid>) {
    let (client, runtime, node) = (&context.client, &context.runtime, &context.facts.name);
    let selection = Selection { fields: format!("spec.nodeName={node}"), ..Selection::default() };
    let pods = Cache::start(client.clone(), Resource::PODS, selection);
    let (tell, told) = mpsc::channel(TOLD);
    let kubelet = Kubelet::new(context.clone(), pods, parts.stopping.clone());
    parts.start("pods", kubelet.run(told, references));
    let random = client.surroundings().random;
    parts.start("runtime events", follow::follow(runtime.clone(), tell, random, parts.stopping.clone()));
    parts.start("lease", lease::renew(client.clone(), node.clone(), parts.stopping.clone()));
}

/// What serves, and what looks after logs.
fn start_service(parts: &mut Parts, options: &Options, context: &Context) {
    let (client, runtime, pods) = (&context.client, &context.runtime, &context.directory);
    let limits = Limits {
        size: options.container_log_max_size,
        files: usize::try_from(options.container_log_max_files).unwrap_or(usize::MAX),
    };
    let now = client.surroundings().now;
    let stopping = parts.stopping.clone();
    parts.start("log rotation", rotation::rotate(pods.clone(), runtime.clone(), limits, now, stopping));
    let thresholds =
        Thresholds { high: options.image_gc_high_threshold, low: options.image_gc_low_threshold };
    let collecting = images::collect::collect(runtime.clone(), thresholds, parts.stopping.clone());
    parts.start("image collection", collecting);
    let how = server_options(options, &context.facts.name);
    let serving = server::serve(how, pods.clone(), runtime.clone(), client.clone(), parts.stopping.clone());
    parts.tasks.spawn(async move { ("server", serving.await.context("the HTTPS server")) });
    if options.healthz_port > 0 {
        let serving = healthz::serve(options.healthz_port, parts.stopping.clone());
        parts.tasks.spawn(async move { ("healthz", serving.await.context("--healthz-port")) });
    }
}

/// The runtime's word about itself, once it gives one.
async fn wait_for(
    runtime: &Runtime,
    client: &Client,
    stopping: &CancellationToken,
) -> Option<v1::VersionResponse> {
    let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
    let mut has_said = false;
    loop {
        let request = v1::VersionRequest { version: "v1".to_owned() };
        match runtime.service().version(request).await {
            Ok(answer) => return Some(answer.into_inner()),
            Err(error) if !has_said => {
                tracing::warn!(%error, "waiting for the runtime");
                has_said = true;
            }
            Err(_) => {}
        }
        tokio::select! {
            () = stopping.cancelled() => return None,
            () = tokio::time::sleep(backoff.next(client.surroundings().random)) => {}
        }
    }
}

async fn node_options(options: &Options, runtime: &Runtime, version: &v1::VersionResponse) -> NodeOptions {
    let capacity = machine::capacity(&options.root_dir, options.max_pods);
    let addresses = match options.node_ip.is_empty() {
        true => vec![machine::address()],
        false => options.node_ip.clone(),
    };
    let status = runtime.service().status(v1::StatusRequest::default()).await;
    let handlers = status.map(|answer| answer.into_inner().runtime_handlers).unwrap_or_default();
    let default =
        handlers.iter().find(|handler| handler.name.is_empty()).and_then(|handler| handler.features);
    let facts = NodeFacts {
        name: options.hostname_override.clone().unwrap_or_else(machine::host_name),
        addresses,
        cluster_dns: options.cluster_dns.clone(),
        cluster_domain: options.cluster_domain.clone(),
        allocatable: allocatable(options, &capacity),
        memory_capacity: capacity.memory,
        huge_page_sizes: Vec::new(),
        seccomp_profiles: options.root_dir.join("seccomp"),
        recursive_read_only: default.is_some_and(|features| features.recursive_read_only_mounts),
        user_namespaces: default.is_some_and(|features| features.user_namespaces),
    };
    NodeOptions {
        facts,
        machine: Machine::read(),
        labels: options.node_labels.clone(),
        taints: options.register_with_taints.clone(),
        port: options.port,
        capacity,
        thresholds: options.eviction_hard,
        status_every: options.node_status_update_frequency,
        root: options.root_dir.clone(),
        runtime_version: format!("{}://{}", version.runtime_name, version.runtime_version),
    }
}

/// What pods may have: what nobody else needs and eviction would not take back.
fn allocatable(options: &Options, capacity: &Amounts) -> Amounts {
    let mut left = capacity.clone();
    for reserved in [amounts(&options.kube_reserved), amounts(&options.system_reserved)] {
        left.cpu_millis -= reserved.cpu_millis;
        left.memory -= reserved.memory;
        left.ephemeral_storage -= reserved.ephemeral_storage;
    }
    left.memory -= options.eviction_hard.memory_bytes;
    left.ephemeral_storage -=
        capacity.ephemeral_storage / 100 * i64::from(options.eviction_hard.disk_percent);
    left.cpu_millis = left.cpu_millis.max(0);
    left.memory = left.memory.max(0);
    left.ephemeral_storage = left.ephemeral_storage.max(0);
    left
}

fn paths(options: &Options) -> Paths {
    let beside = options.pod_logs_dir.parent().unwrap_or(&options.pod_logs_dir);
    Paths {
        root: options.root_dir.clone(),
        pod_logs: options.pod_logs_dir.clone(),
        container_logs: beside.join("containers"),
    }
}

fn prepare_folders(paths: &Paths) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    for (folder, mode) in [(&paths.pods(), 0o750), (&paths.pod_logs, 0o755), (&paths.container_logs, 0o755)] {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(folder)
            .with_context(|| format!("making {}", folder.display()))?;
    }
    Ok(())
}

fn server_options(options: &Options, node: &str) -> ServerOptions {
    ServerOptions {
        address: SocketAddr::new(options.address, options.port),
        node: node.to_owned(),
        certificate: options.tls_cert_file.clone().zip(options.tls_private_key_file.clone()),
        root: options.root_dir.clone(),
        client_authorities: options.client_ca_file.clone(),
    }
}

/// What a kubelet with these options leaves on the host.
pub fn footprint(options: &Options) -> sys::footprint::Footprint {
    let paths = paths(options);
    sys::footprint::Footprint {
        files: vec![paths.root.clone(), paths.pod_logs, paths.container_logs],
        mounts: vec![paths.root.join("pods/*")],
        cgroups: vec![options.cgroup_root.clone()],
        ..Default::default()
    }
}

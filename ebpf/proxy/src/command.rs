//! `keelson proxy`: the kube-proxy alone, under upstream's flag names.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use client::{Client, Config, ConfigError, Surroundings};
use futures::future::BoxFuture;
use ipnet::IpNet;
use serve::HealthListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::node::PortAddresses;
use crate::proxy::Proxy;

/// Exit code of wrong usage or configuration.
const USAGE: u8 = 2;
/// Writing maps is one task; the rest waits for the network.
const THREADS: usize = 2;

/// Lead the addresses of Services to their endpoints
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// File that says where the API is and who we are.
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// Name of this node; the host's name where none is given.
    #[arg(long)]
    pub hostname_override: Option<String>,
    /// Ranges of the cluster's pods. The agent tells them to the data path; here they are only checked.
    #[arg(long, value_delimiter = ',')]
    pub cluster_cidr: Vec<IpNet>,
    /// Ranges of the node's addresses on which node ports are answered, or "primary"; all where none is given.
    #[arg(long, value_delimiter = ',')]
    pub nodeport_addresses: Vec<String>,
    /// Where /healthz and /livez are answered; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:10256")]
    pub healthz_bind_address: SocketAddr,
    /// Where /metrics and /proxyMode are answered; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:10249")]
    pub metrics_bind_address: SocketAddr,
    /// Directory of the data path's pins, on a bpffs.
    #[arg(long, default_value = "/sys/fs/bpf/keelson")]
    pub bpffs: PathBuf,
    /// Several nodes on one bpffs: a name for each.
    #[arg(long, default_value = "")]
    pub instance: String,
    /// cgroup2 directory whose sockets are translated. The agent attaches there; the flag is taken so that both can
    /// be given the same.
    #[arg(long)]
    pub cgroup_root: Option<PathBuf>,
}

/// What flags say that cannot be.
#[derive(Debug, thiserror::Error)]
enum UsageError {
    #[error("--nodeport-addresses: {0}")]
    Addresses(String),
}

/// Runs until SIGTERM or SIGINT.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let options = match Options::try_parse_from(arguments) {
        Ok(options) => options,
        Err(error) => {
            // Nothing better can be done where stderr is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("keelson proxy: starting threads: {error}");
                return ExitCode::FAILURE;
            }
        };
    match runtime.block_on(until_signalled(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(error) = error.downcast_ref::<ConfigError>() {
                eprintln!("keelson proxy: --kubeconfig: {error}");
                return ExitCode::from(USAGE);
            }
            eprintln!("keelson proxy: {error:#}");
            if error.is::<UsageError>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

async fn until_signalled(options: Options) -> anyhow::Result<()> {
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

/// Proxies until `stopping`. The maps stay as they are: connections go on, and the next start adopts them.
pub fn run(options: Options, stopping: CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> {
    // Boxed here: an `async fn` is compiled again by each crate that awaits it, with all that it awaits.
    Box::pin(run_until(options, stopping))
}

async fn run_until(options: Options, stopping: CancellationToken) -> anyhow::Result<()> {
    let addresses = PortAddresses::parse(&options.nodeport_addresses).map_err(UsageError::Addresses)?;
    let client = Client::new(Config::read(&options.kubeconfig)?, "kube-proxy", Surroundings::system())?;
    let node = node_name(&options)?;
    let healthz = HealthListener::bind(options.healthz_bind_address)
        .await
        .map_err(|error| anyhow::anyhow!("--healthz-bind-address: {error}"))?;
    let metrics = HealthListener::bind(options.metrics_bind_address)
        .await
        .map_err(|error| anyhow::anyhow!("--metrics-bind-address: {error}"))?;
    let config =
        datapath::Config { bpffs: options.bpffs, instance: options.instance, ..datapath::Config::default() };
    let health = Arc::new(Health::new(client.surroundings().now));
    tracing::info!(node, healthz = %healthz.address, metrics = %metrics.address, "Services are proxied");
    let proxy = Proxy::new(&client, &node, config, addresses, health.clone());
    let mut parts = JoinSet::new();
    parts.spawn(proxy.run(stopping.clone()));
    let reporting = health.clone();
    parts.spawn(healthz.serve(move |path| reporting.report(path), stopping.clone()));
    parts.spawn(metrics.serve(move |path| health.metrics(path), stopping));
    while let Some(ended) = parts.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    Ok(())
}

fn node_name(options: &Options) -> anyhow::Result<String> {
    let name = match &options.hostname_override {
        Some(name) => name.clone(),
        None => std::fs::read_to_string("/proc/sys/kernel/hostname").context("this host's name")?,
    };
    Ok(name.trim().to_ascii_lowercase())
}

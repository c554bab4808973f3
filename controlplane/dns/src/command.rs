//! `keelson dns`: the cluster's DNS alone.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use client::{Caches, Client, Config, ConfigError, Resource, Surroundings};
use futures::future::BoxFuture;
use hickory_proto::rr::Name;
use ipnet::IpNet;
use serve::{HealthListener, Report};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::forward::{Forwarder, Upstreams};
use crate::listen::Sockets;
use crate::publish::{Desired, Publisher};
use crate::server::Dns;
use crate::sources::Sources;
use crate::zone::Zone;

/// Exit code of wrong usage or configuration.
const USAGE: u8 = 2;
/// One for the sockets, one for the caches.
const THREADS: usize = 2;
/// Where DNS is on every node.
const PORT: u16 = 10053;
/// The port of an upstream that is named without one.
const UPSTREAM_PORT: u16 = 53;

/// Whether addresses have names, as in 10-0-0-1.default.pod.cluster.local.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pods {
    /// They have not.
    Disabled,
    /// All have, whether a pod has the address or not.
    Insecure,
}

/// Answer the names of Services and pods, and forward all others
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// File that says where the API is and who we are.
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// Domain of the cluster.
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Addresses to answer on, over UDP and TCP; the node's address and port 10053 where none is given. An
    /// unspecified address answers from whatever address the route has.
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS:PORT")]
    pub listen: Vec<SocketAddr>,
    /// Servers for all other names; the host's own where none is given.
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS[:PORT]", value_parser = upstream)]
    pub upstream: Vec<SocketAddr>,
    /// The host's list of servers.
    #[arg(long, default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// Ranges of those who may ask, beside private addresses and the node itself.
    #[arg(long, value_delimiter = ',', value_name = "RANGE")]
    pub allow_from: Vec<IpNet>,
    /// Names of pods' addresses.
    #[arg(long, value_enum, default_value = "insecure")]
    pub pods: Pods,
    /// Where /health, /ready and /metrics are answered; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:10054")]
    pub health_address: SocketAddr,
    /// Create Service kube-system/kube-dns and this node's EndpointSlice for it.
    #[arg(long)]
    pub publish_service: bool,
    /// Address of that Service.
    #[arg(long, default_value = "10.96.0.10")]
    pub cluster_dns: IpAddr,
    /// Addresses of this node, one per family.
    #[arg(long, value_delimiter = ',')]
    pub node_ip: Vec<IpAddr>,
    /// Name of this node; the host's name where none is given.
    #[arg(long)]
    pub hostname_override: Option<String>,
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
                eprintln!("keelson dns: starting threads: {error}");
                return ExitCode::FAILURE;
            }
        };
    match runtime.block_on(until_signalled(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(error) = error.downcast_ref::<ConfigError>() {
                eprintln!("keelson dns: --kubeconfig: {error}");
                return ExitCode::from(USAGE);
            }
            eprintln!("keelson dns: {error:#}");
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

/// What flags say that cannot be.
#[derive(Debug, thiserror::Error)]
enum UsageError {
    #[error("--cluster-domain {domain:?}: {why}")]
    Domain { domain: String, why: String },
}

/// Answers until `stopping`.
pub fn run(options: Options, stopping: CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> {
    // Boxed here: an `async fn` is compiled again by each crate that awaits it, with all that it awaits.
    Box::pin(run_until(options, stopping))
}

async fn run_until(options: Options, stopping: CancellationToken) -> anyhow::Result<()> {
    let zone = zone(&options)?;
    let client = Client::new(Config::read(&options.kubeconfig)?, "keelson-dns", Surroundings::system())?;
    let mut sockets = Vec::new();
    for address in listen_addresses(&options)? {
        sockets.push(Sockets::bind(address).await?);
    }
    let addresses: Vec<SocketAddr> = sockets.iter().map(|sockets| sockets.address).collect();
    let health = HealthListener::bind(options.health_address)
        .await
        .map_err(|error| anyhow::anyhow!("--health-address: {error}"))?;
    let caches = Caches::new(client.clone());
    let (services, slices) = (caches.of(&Resource::SERVICES), caches.of(&Resource::ENDPOINT_SLICES));
    let forwarder = Forwarder::new(upstreams(&options, &addresses), client.surroundings().random);
    let dns = Arc::new(Dns::new(
        zone,
        Sources::new(&options.allow_from),
        services.clone(),
        slices.clone(),
        forwarder,
    ));
    tracing::info!(?addresses, health = %health.address, domain = %options.cluster_domain, "DNS is served");
    let mut parts = JoinSet::new();
    for sockets in sockets {
        parts.spawn(sockets.serve(dns.clone(), stopping.clone()));
    }
    let reporting = dns.clone();
    parts.spawn(health.serve(move |path| report(&reporting, path), stopping.clone()));
    if options.publish_service {
        let desired = desired(&options, &addresses)?;
        let publisher = Publisher { client, services: services.clone(), slices: slices.clone(), desired };
        parts.spawn(publisher.run(stopping.clone()));
    }
    let waiting = stopping.clone();
    parts.spawn(async move {
        tokio::select! {
            () = waiting.cancelled() => {}
            () = async { tokio::join!(services.synced(), slices.synced()); } => {
                tracing::info!("Services and EndpointSlices are known");
            }
        }
    });
    while let Some(ended) = parts.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    Ok(())
}

fn zone(options: &Options) -> Result<Zone, UsageError> {
    let refused = |why: String| UsageError::Domain { domain: options.cluster_domain.clone(), why };
    let domain = Name::from_ascii(&options.cluster_domain).map_err(|error| refused(error.to_string()))?;
    if domain.is_root() {
        return Err(refused("the root cannot be the cluster's; cluster.local is usual".into()));
    }
    Ok(Zone::new(&domain, options.pods == Pods::Insecure))
}

fn listen_addresses(options: &Options) -> anyhow::Result<Vec<SocketAddr>> {
    if !options.listen.is_empty() {
        return Ok(options.listen.clone());
    }
    if !options.node_ip.is_empty() {
        return Ok(options.node_ip.iter().map(|address| SocketAddr::new(*address, PORT)).collect());
    }
    let address = default_address().context("this node's address is unknown: give --listen or --node-ip")?;
    Ok(vec![SocketAddr::new(address, PORT)])
}

/// The address from which packets to elsewhere would leave; nothing is sent.
fn default_address() -> std::io::Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // RFC 5737: an address of nobody, behind the default route.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
    Ok(socket.local_addr()?.ip())
}

fn upstreams(options: &Options, own: &[SocketAddr]) -> Upstreams {
    if options.upstream.is_empty() {
        return Upstreams::host(&options.resolv_conf);
    }
    // A question to oneself never ends.
    Upstreams::Given(options.upstream.iter().filter(|upstream| !own.contains(upstream)).copied().collect())
}

fn upstream(text: &str) -> Result<SocketAddr, String> {
    let bare = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, UPSTREAM_PORT));
    bare.or_else(|_| text.parse())
        .map_err(|_| "an address such as 192.0.2.53 or 192.0.2.53:5353 is wanted".into())
}

fn desired(options: &Options, listening: &[SocketAddr]) -> anyhow::Result<Desired> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    let own = options.node_ip.iter().copied().chain(listening.iter().map(SocketAddr::ip));
    for address in own.filter(|address| !address.is_unspecified() && !address.is_loopback()) {
        if !addresses.iter().any(|known| known.is_ipv4() == address.is_ipv4()) {
            addresses.push(address);
        }
    }
    anyhow::ensure!(
        !addresses.is_empty(),
        "--publish-service: pods cannot reach {listening:?}; give --node-ip, or --listen with the node's address"
    );
    let port = listening.first().map_or(PORT, SocketAddr::port);
    let node = match &options.hostname_override {
        Some(name) => name.clone(),
        None => std::fs::read_to_string("/proc/sys/kernel/hostname").context("this host's name")?,
    };
    let node = node.trim().to_ascii_lowercase();
    Ok(Desired { node, cluster_dns: options.cluster_dns, addresses, port })
}

fn report(dns: &Dns, path: &str) -> Report {
    match path {
        "/health" | "/healthz" | "/livez" => Report::text(200, "OK"),
        "/ready" | "/readyz" if dns.is_ready() => Report::text(200, "OK"),
        "/ready" | "/readyz" => Report::text(503, "Services and EndpointSlices are not known yet\n"),
        "/metrics" => {
            Report { content_type: "text/plain; version=0.0.4", ..Report::text(200, dns.counters.render()) }
        }
        _ => Report::missing(),
    }
}

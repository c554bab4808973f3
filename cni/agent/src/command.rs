//! `keelson net-agent`: the agent alone, and inside another process.

use std::ffi::OsString;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use client::{Cache, Client, Config, Key, Resource, Selection, Surroundings};
use futures::future::BoxFuture;
use ipnet::IpNet;
use serve::HealthListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::acceleration::Acceleration;
use crate::carrier::Settings;
use crate::condition;
use crate::endpoint::Registry;
use crate::flows;
use crate::metrics::Figures;
use crate::names::Names;
use crate::network::Host;
use crate::overlay::Mode;
use crate::owner::{Nodes, Owner, Plan};
use crate::policy::Knowledge;
use crate::server::{QUEUE, Server};

/// Exit code of wrong usage or configuration.
const USAGE: u8 = 2;
/// One owner; the rest waits for sockets.
const THREADS: usize = 2;

/// Connect the pods of this node
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// File that says where the API is and who we are.
    #[arg(long, env = "KEELSON_KUBECONFIG")]
    pub kubeconfig: PathBuf,
    /// Name of this node's Node; the host name unless given.
    #[arg(long, env = "KEELSON_NODE_NAME")]
    pub node_name: Option<String>,
    /// Addresses of this node, at most one per family; those of the uplink unless given.
    #[arg(long, value_delimiter = ',')]
    pub node_ip: Vec<IpAddr>,
    /// Ranges of all pods' addresses.
    #[arg(long, value_delimiter = ',', default_value = "10.244.0.0/16")]
    pub cluster_cidr: Vec<IpNet>,
    /// Ranges of the Services' addresses.
    #[arg(long, value_delimiter = ',', default_value = "10.96.0.0/16")]
    pub service_cidr: Vec<IpNet>,
    /// Where the socket, the records of pods and the plugin's reservations are.
    #[arg(long, default_value = "/run/keelson")]
    pub state_dir: PathBuf,
    /// Where container runtimes look for networks.
    #[arg(long, default_value = "/etc/cni/net.d")]
    pub cni_conf_dir: PathBuf,
    /// Where programs and maps are pinned; a bpffs is mounted where none is.
    #[arg(long, default_value = "/sys/fs/bpf/keelson")]
    pub bpffs: PathBuf,
    /// The cgroup2 directory whose sockets are translated; where cgroup2 is mounted unless given, none if empty.
    #[arg(long)]
    pub cgroup_root: Option<PathBuf>,
    /// Tells this node's links and pins from those of others on the same kernel.
    #[arg(long, default_value = "")]
    pub instance: String,
    /// The link to other machines; that of the node's address or of the default route unless given.
    #[arg(long)]
    pub uplink: Option<String>,
    /// When nodes are reached through a VXLAN tunnel: where no network of the uplink reaches them, always or never.
    #[arg(long, default_value = "auto", env = "KEELSON_TUNNEL")]
    pub tunnel: Mode,
    /// Where /metrics and /healthz are answered; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9962")]
    pub metrics_bind_address: SocketAddr,
    /// Whether what goes on to other machines is sent by XDP in the uplink's driver: native, best-effort or disabled.
    #[arg(long, default_value = "disabled", env = "KEELSON_ACCELERATION")]
    pub acceleration: Acceleration,
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
    if let Err(error) = options.check() {
        eprintln!("keelson net-agent: {error:#}");
        return ExitCode::from(USAGE);
    }
    let done = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .context("starting threads")
        .and_then(|runtime| runtime.block_on(until_stopped(options)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keelson net-agent: {error:#}");
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
        _ = terminate.recv() => stopping.cancel(),
        _ = interrupt.recv() => stopping.cancel(),
    }
    running.await
}

/// Runs until it is told to stop; pods stay connected. To be called in the node's network namespace.
pub fn run(options: Options, stopping: CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> {
    // Boxed here: an `async fn` is compiled again by each crate that awaits it, with all that it awaits.
    Box::pin(run_until(options, stopping))
}

async fn run_until(options: Options, stopping: CancellationToken) -> anyhow::Result<()> {
    options.check()?;
    let config = Config::read(&options.kubeconfig).context("--kubeconfig")?;
    let client = Client::new(config, "keelson-net-agent", Surroundings::system())?;
    let plan = options.plan()?;
    let _lock = lock(&options.state_dir)?;
    let host = Host::open()?;
    let registry = Registry::open(&options.state_dir.join("endpoints")).context("the records of pods")?;
    let server = Server::bind(&plan.socket).with_context(|| format!("{}", plan.socket.display()))?;
    let path = options.state_dir.join(flows::SOCKET);
    let teller = flows::Server::bind(&path).with_context(|| format!("{}", path.display()))?;
    let metrics = HealthListener::bind(options.metrics_bind_address)
        .await
        .map_err(|error| anyhow::anyhow!("--metrics-bind-address: {error}"))?;
    let own = Selection { fields: format!("metadata.name={}", plan.node.name), ..Selection::default() };
    let nodes = Nodes {
        own: Cache::start(client.clone(), Resource::NODES, own),
        all: Cache::start(client.clone(), Resource::NODES, Selection::default()),
    };
    let (ready, is_ready) = watch::channel(false);
    let (calls, asked) = mpsc::channel(QUEUE);
    // Whichever of them ends takes the others with it.
    let ending = stopping.child_token();
    let mut beside = JoinSet::new();
    let knowledge = Knowledge::start(client.clone(), &options.state_dir);
    beside.spawn(condition::keep(client, plan.node.clone(), nodes.own.clone(), is_ready));
    let serving = tokio::spawn(server.run(calls, ending.clone()));
    let (sight, seen) = watch::channel(flows::Sight::default());
    let figures = Arc::new(Figures::default());
    let telling = tokio::spawn(teller.run(seen, figures.clone(), ending.clone()));
    tracing::info!(node = %plan.node.name, socket = %plan.socket.display(), metrics = %metrics.address, "the network agent runs");
    let asked_for = figures.clone();
    let report = move |path: &str| asked_for.clone().report(path.to_owned());
    beside.spawn(metrics.serve_later(report, ending.clone()));
    let owner = Owner::new(plan, nodes, host, registry, (knowledge, sight), (ready, figures));
    let outcome = owner.run(asked, ending.clone()).await;
    ending.cancel();
    beside.shutdown().await;
    serving.await?;
    telling.await?;
    outcome
}

impl Options {
    /// What clap cannot tell.
    fn check(&self) -> anyhow::Result<()> {
        Names::of(&self.instance).context("--instance")?;
        for (flag, ranges) in [("--cluster-cidr", &self.cluster_cidr), ("--service-cidr", &self.service_cidr)]
        {
            let of_family = |ipv6: bool| ranges.iter().filter(|range| range.addr().is_ipv6() == ipv6).count();
            anyhow::ensure!(!ranges.is_empty(), "{flag} is empty");
            anyhow::ensure!(
                of_family(false) <= 1 && of_family(true) <= 1,
                "{flag} has more than one range of a family"
            );
        }
        for one in &self.cluster_cidr {
            let other = self.service_cidr.iter().find(|other| one.contains(*other) || other.contains(one));
            anyhow::ensure!(other.is_none(), "--cluster-cidr {one} and --service-cidr overlap");
        }
        for ipv6 in [false, true] {
            let count = self.node_ip.iter().filter(|ip| ip.is_ipv6() == ipv6).count();
            anyhow::ensure!(count <= 1, "--node-ip has more than one address of a family");
        }
        Ok(())
    }

    /// What of the datapath does not change.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            bpffs: self.bpffs.clone(),
            instance: self.instance.clone(),
            cgroup: self.cgroup(),
            cluster_cidrs: self.cluster_cidr.clone(),
            service_cidrs: self.service_cidr.clone(),
            node_ips: self.node_ip.clone(),
            acceleration: self.acceleration.into(),
        }
    }

    fn cgroup(&self) -> Option<PathBuf> {
        match &self.cgroup_root {
            Some(root) => Some(root.clone()).filter(|root| !root.as_os_str().is_empty()),
            None => {
                let layout = sys::cgroup::Layout::detect().ok()?;
                Some(layout.unified()?.mount.clone())
            }
        }
    }

    fn plan(&self) -> anyhow::Result<Plan> {
        let name = match &self.node_name {
            Some(name) => name.clone(),
            None => std::fs::read_to_string("/proc/sys/kernel/hostname")
                .context("the host's name; use --node-name")?
                .trim()
                .to_lowercase(),
        };
        Ok(Plan {
            node: Key::new("", name),
            names: Names::of(&self.instance)?,
            settings: self.settings(),
            uplink: self.uplink.clone(),
            tunnel: self.tunnel,
            socket: self.state_dir.join(cni_api::agent::SOCKET),
            ipam: self.state_dir.join("ipam"),
            conf_dir: self.cni_conf_dir.clone(),
        })
    }
}

/// One agent per state folder.
fn lock(folder: &Path) -> anyhow::Result<File> {
    let failed = || format!("--state-dir {}", folder.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).with_context(failed)?;
    let path = folder.join("net.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).with_context(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            anyhow::bail!("another network agent holds {}; stop it first", path.display())
        }
        Err(std::fs::TryLockError::Error(error)) => Err(error).with_context(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flags: &[&str], expect: &str) {
        let arguments = ["net-agent", "--kubeconfig", "/x"].iter().chain(flags);
        let said = Options::try_parse_from(arguments)
            .map_err(anyhow::Error::from)
            .and_then(|options| options.check())
            .map_or_else(|error| format!("{error:#}"), |()| String::new());
        assert!(if expect.is_empty() { said.is_empty() } else { said.contains(expect) }, "{flags:?}: {said}");
    }

    #[test]
    fn flags_are_checked_before_anything_is_touched() {
        check(&[], "");
        check(&["--cluster-cidr", "10.1.0.0/16,fd00::/56", "--node-ip", "192.0.2.1,2001:db8::1"], "");
        check(&["--cluster-cidr", "10.1.0.0/16,10.2.0.0/16"], "more than one range");
        check(&["--cluster-cidr", "10.0.0.0/8"], "overlap");
        check(&["--cluster-cidr", "nonsense"], "invalid value");
        check(&["--node-ip", "192.0.2.1,192.0.2.2"], "more than one address");
        check(&["--instance", "UPPER"], "no instance tag");
    }
}

//! `keelson controllers`: the command line, with upstream's flag names.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use client::{Client, Config, Election, Surroundings};
use futures::future::BoxFuture;
use ipnet::IpNet;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::ClusterRange;
use crate::context::{Setup, run_all};

/// Exit code of wrong usage or configuration.
const USAGE: u8 = 2;
/// A Node's part of a range: a thousand pods, and one of IPv6's usual networks.
const NODE_PREFIX_IPV4: u8 = 22;
const NODE_PREFIX_IPV6: u8 = 64;

/// Run the controllers
#[derive(Debug, Parser)]
pub struct Options {
    /// kubeconfig of system:kube-controller-manager.
    #[arg(long, env = "KEELSON_KUBECONFIG")]
    kubeconfig: PathBuf,
    /// Authorities published to pods in the ConfigMap kube-root-ca.crt; those of the kubeconfig unless given.
    #[arg(long)]
    root_ca_file: Option<PathBuf>,
    /// Give every controller its own ServiceAccount's rights.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    use_service_account_credentials: bool,
    /// Give every Node a part of the cluster's ranges for its pods.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    allocate_node_cidrs: bool,
    /// Ranges of all pods' addresses: one, or one of each family.
    #[arg(long, value_delimiter = ',', default_value = "10.244.0.0/16")]
    cluster_cidr: Vec<IpNet>,
    /// Prefix length of a Node's part of a cluster range; 22 for IPv4 and 64 for IPv6 unless given.
    #[arg(long, conflicts_with_all = ["node_cidr_mask_size_ipv4", "node_cidr_mask_size_ipv6"])]
    node_cidr_mask_size: Option<u8>,
    /// The same for the IPv4 range of two.
    #[arg(long)]
    node_cidr_mask_size_ipv4: Option<u8>,
    /// The same for the IPv6 range of two.
    #[arg(long)]
    node_cidr_mask_size_ipv6: Option<u8>,
    /// The authority that signs certificates of nodes and users that are asked for; nobody does unless given.
    #[arg(long, requires = "cluster_signing_key_file")]
    cluster_signing_cert_file: Option<PathBuf>,
    /// Key of that authority.
    #[arg(long, requires = "cluster_signing_cert_file")]
    cluster_signing_key_file: Option<PathBuf>,
    /// Work only while no other controllers of the cluster do.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    leader_elect: bool,
    /// Who these are among them.
    #[arg(long, required_if_eq("leader_elect", "true"), value_name = "NAME")]
    leader_elect_identity: Option<String>,
}

/// Runs until SIGTERM or SIGINT.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let flags = match Options::try_parse_from(arguments) {
        Ok(flags) => flags,
        Err(error) => {
            // Nothing better can be done where stderr is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let setup = match setup(&flags) {
        Ok(setup) => setup,
        Err(error) => {
            eprintln!("keelson controllers: {error:#}");
            return ExitCode::from(USAGE);
        }
    };
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting threads")
        .and_then(|runtime| runtime.block_on(until_stopped(setup)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keelson controllers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn setup(flags: &Options) -> anyhow::Result<Setup> {
    let config = Config::read(&flags.kubeconfig)?;
    let root_ca = match &flags.root_ca_file {
        Some(file) => {
            std::fs::read_to_string(file).with_context(|| format!("--root-ca-file {}", file.display()))?
        }
        None => config.authorities_pem(),
    };
    let node_ranges = if flags.allocate_node_cidrs { node_ranges(flags)? } else { Vec::new() };
    let signer = signer(flags)?;
    Ok(Setup { config, root_ca, own_accounts: flags.use_service_account_credentials, node_ranges, signer })
}

fn signer(flags: &Options) -> anyhow::Result<Option<pki::Authority>> {
    let (Some(certificate), Some(key)) = (&flags.cluster_signing_cert_file, &flags.cluster_signing_key_file)
    else {
        return Ok(None);
    };
    let read = |flag: &str, path: &PathBuf| {
        std::fs::read_to_string(path).with_context(|| format!("{flag} {}", path.display()))
    };
    let shown = certificate.display().to_string();
    let (certificate, key) =
        (read("--cluster-signing-cert-file", certificate)?, read("--cluster-signing-key-file", key)?);
    Ok(Some(pki::Authority::from_pem(&shown, &certificate, &key)?))
}

/// At most one range of each family.
fn node_ranges(flags: &Options) -> anyhow::Result<Vec<ClusterRange>> {
    let ranges = &flags.cluster_cidr;
    let of_family = |ipv6: bool| ranges.iter().filter(|range| range.addr().is_ipv6() == ipv6).count();
    anyhow::ensure!(!ranges.is_empty(), "--allocate-node-cidrs needs --cluster-cidr");
    anyhow::ensure!(
        of_family(false) <= 1 && of_family(true) <= 1,
        "--cluster-cidr has more than one range of a family"
    );
    anyhow::ensure!(
        ranges.len() == 1 || flags.node_cidr_mask_size.is_none(),
        "--node-cidr-mask-size is for one range: use --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6"
    );
    let cut = |range: &IpNet| {
        let (own, usual) = match range {
            IpNet::V4(_) => (flags.node_cidr_mask_size_ipv4, NODE_PREFIX_IPV4),
            IpNet::V6(_) => (flags.node_cidr_mask_size_ipv6, NODE_PREFIX_IPV6),
        };
        let prefix = own.or(flags.node_cidr_mask_size).unwrap_or(usual);
        ClusterRange::new(*range, prefix).context("--cluster-cidr")
    };
    ranges.iter().map(cut).collect()
}

/// Runs until `stopping`, or until a controller fails for good.
pub fn run(options: Options, stopping: CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> {
    // Boxed here: an `async fn` is compiled again by each crate that awaits it, with all that it awaits.
    Box::pin(run_until(options, stopping))
}

async fn run_until(options: Options, stopping: CancellationToken) -> anyhow::Result<()> {
    let setup = setup(&options)?;
    let Some(identity) = options.leader_elect_identity.filter(|_| options.leader_elect) else {
        let ended = stopping.run_until_cancelled(run_all(setup)).await;
        return Ok(ended.unwrap_or(Ok(()))?);
    };
    let client = Client::new(setup.config.clone(), "keelson-controllers", Surroundings::system())?;
    let election = Election::new(client, "kube-controller-manager", identity);
    let ended = stopping.run_until_cancelled(election.lead(run_all(setup))).await;
    election.release().await;
    Ok(ended.unwrap_or(Ok(Ok(())))??)
}

async fn until_stopped(setup: Setup) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        ended = run_all(setup) => Ok(ended?),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

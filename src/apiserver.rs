//! `keelson apiserver`: the Kubernetes API alone, with its store and its keys.

mod extras;
mod handover;
mod store_member;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use apiserver::{ApiServer, FrontProxy, KubeletAccess, Parts};
use clap::Parser;
use ipnet::IpNet;
use pki::{Folder, FolderRequest, Kubeconfig, Profile, Usage};
use serve::{Listener, ServerIdentity};
use tokio_util::sync::CancellationToken;

pub use extras::Extras;

use crate::node::{one_per_family, service_address};
use crate::stopping::stop_on_signals;

/// Seconds that the administrator's certificate is good for: a year.
const ADMIN_SECONDS: i64 = 365 * 86_400;
/// Exit code of wrong usage or configuration.
const USAGE: u8 = 2;

/// Serve the Kubernetes API
#[derive(Debug, Parser)]
pub struct Options {
    /// Folder of the store and the keys.
    #[arg(long, default_value = "/var/lib/keelson", env = "KEELSON_DATA_DIR")]
    data_dir: PathBuf,
    /// Address to listen on.
    #[arg(long, default_value = "0.0.0.0", env = "KEELSON_BIND_ADDRESS")]
    bind_address: IpAddr,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 6443, env = "KEELSON_SECURE_PORT")]
    secure_port: u16,
    /// Address under which others reach this server; the bind address unless that is unspecified.
    #[arg(long)]
    advertise_address: Option<IpAddr>,
    /// Further names and addresses for the serving certificate.
    #[arg(long = "tls-san")]
    tls_san: Vec<String>,
    /// Ranges of cluster IPs: one, or one of each family.
    #[arg(long, value_delimiter = ',', default_value = "10.96.0.0/16")]
    service_cluster_ip_range: Vec<IpNet>,
    /// What nodes that join are told: cluster-cidr, service-cidr, cluster-domain, cluster-dns.
    #[arg(long, value_name = "NAME=VALUE", value_parser = fact)]
    tell_nodes: Vec<(String, String)>,
    /// Who makes ServiceAccount tokens.
    #[arg(long, default_value = "https://kubernetes.default.svc.cluster.local")]
    service_account_issuer: String,
    /// Seconds for which the store keeps its history; lists that go on and watches that come back later begin anew.
    #[arg(long, default_value_t = apiserver::COMPACTION_INTERVAL.as_secs(), value_parser = clap::value_parser!(u64).range(1..))]
    compaction_interval_seconds: u64,
    /// Certificate that kubelets are shown; made and kept with the other keys by default.
    #[arg(long, requires = "kubelet_client_key")]
    kubelet_client_certificate: Option<PathBuf>,
    /// Key of that certificate.
    #[arg(long, requires = "kubelet_client_certificate")]
    kubelet_client_key: Option<PathBuf>,
    /// Authorities of the kubelets' serving certificates; the cluster's own by default.
    #[arg(long)]
    kubelet_certificate_authority: Option<PathBuf>,
    /// Types of a node's addresses to reach its kubelet by, best first; only IP addresses are dialled.
    #[arg(long, value_delimiter = ',', default_value = "InternalIP,ExternalIP,Hostname")]
    kubelet_preferred_address_types: Vec<String>,
    /// Where to write the administrator's kubeconfig.
    #[arg(long, default_value = "/etc/keelson/admin.conf", env = "KEELSON_WRITE_KUBECONFIG")]
    pub write_kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    store: store_member::StoreFlags,
    #[command(flatten)]
    extras: Extras,
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
    let runtime = match crate::threads::start(crate::threads::HEAPS) {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("keelson apiserver: starting threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(until_stopped(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keelson apiserver: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn until_stopped(options: Options) -> anyhow::Result<()> {
    let stopping = CancellationToken::new();
    let signals = stop_on_signals(stopping.clone(), false)?;
    let ended = run(options, stopping).await;
    signals.abort();
    ended
}

/// Serves until `stopping`; requests under way are finished.
pub async fn run(options: Options, stopping: CancellationToken) -> anyhow::Result<()> {
    let listener = Listener::bind(SocketAddr::new(options.bind_address, options.secure_port)).await?;
    let address = advertised(&options);
    let port = listener.address.port();
    let now = jiff::Timestamp::now().as_second();
    let keys = Folder::ensure(&options.data_dir.join("pki"), &folder_request(&options, now)?)?;
    let store = store_member::open(&options.store, &keys, &options.data_dir.join("store"), &stopping).await?;
    let kubelets = kubelets(&options, &keys)?;
    if let Some(path) = &options.write_kubeconfig {
        let server = format!("https://{}", SocketAddr::new(reachable(address), port));
        write_admin(&keys, &server, path, now)?;
    }
    let identity =
        ServerIdentity::new(keys.serving.chain("apiserver.crt")?, keys.serving.key("apiserver.key")?)?;
    let tls = serve::server_config(Arc::new(identity))?;
    let facts: BTreeMap<String, String> = options.tell_nodes.iter().cloned().collect();
    let shared = handover::SharedKeys {
        folder: options.data_dir.join("pki"),
        store: store.clone(),
        facts: facts.clone(),
    };
    let parts = Parts {
        store,
        handover: Arc::new(shared),
        kubelets,
        encryption: Some(options.extras.encryption(&options.data_dir)),
        front_proxy: FrontProxy {
            identity: (
                keys.front_proxy_client.chain("front-proxy-client.crt")?,
                keys.front_proxy_client.key("front-proxy-client.key")?,
            ),
            authorities_pem: keys.front_proxy.certificate_pem().to_owned(),
        },
        audit: options.extras.audit(),
        client_authorities: keys.cluster.certificate_pem().to_owned(),
        token_keys: keys.token_keys,
        issuer: options.service_account_issuer.clone(),
        service_ranges: options.service_cluster_ip_range.clone(),
        advertised: (address, port),
        facts,
        clock: Arc::new(jiff::Timestamp::now),
        random: Arc::new(random),
        compaction_interval: Duration::from_secs(options.compaction_interval_seconds),
        request_timeout: options.extras.request_timeout(),
        stopping,
    };
    Ok(ApiServer::serve(parts, listener, tls).await?)
}

/// What the folder of keys must hold for these flags.
pub fn folder_request(options: &Options, now: i64) -> anyhow::Result<FolderRequest> {
    let services = &options.service_cluster_ip_range;
    one_per_family("--service-cluster-ip-range", services, |range| range.addr().is_ipv6())?;
    services.iter().try_for_each(|range| check_range("--service-cluster-ip-range", range))?;
    Ok(FolderRequest { serving_names: serving_names(options, advertised(options)), now })
}

/// Writes the administrator's kubeconfig, with a new certificate.
pub fn write_admin(keys: &Folder, server: &str, path: &Path, now: i64) -> anyhow::Result<()> {
    let admin = Profile {
        common_name: "kubernetes-admin".into(),
        organization: Some("system:masters".into()),
        names: vec![],
        usage: Usage::Client,
        lifetime_seconds: ADMIN_SECONDS,
    };
    let admin = keys.cluster.issue(&admin, now)?;
    let kubeconfig = Kubeconfig {
        server,
        authority_pem: keys.cluster.certificate_pem(),
        user: "kubernetes-admin",
        certificate: &admin,
    };
    write_private(path, &kubeconfig.to_yaml()).with_context(|| format!("writing {}", path.display()))
}

/// How kubelets are reached.
fn kubelets(options: &Options, keys: &Folder) -> anyhow::Result<KubeletAccess> {
    let read =
        |path: &Path| std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    let identity = match (&options.kubelet_client_certificate, &options.kubelet_client_key) {
        (Some(certificate), Some(key)) => {
            let what = certificate.display().to_string();
            let client = pki::Certificate::from_pem(&what, read(certificate)?, read(key)?)?;
            (client.chain(&what)?, client.key(&what)?)
        }
        _ => {
            let what = "apiserver-kubelet-client.crt";
            (keys.kubelet_client.chain(what)?, keys.kubelet_client.key(what)?)
        }
    };
    let authorities = match &options.kubelet_certificate_authority {
        Some(path) => read(path)?,
        None => keys.cluster.certificate_pem().to_owned(),
    };
    Ok(KubeletAccess::new(identity, &authorities, options.kubelet_preferred_address_types.clone())?)
}

fn fact(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not name=value"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn advertised(options: &Options) -> IpAddr {
    options.advertise_address.unwrap_or(options.bind_address)
}

/// An address that a client on this machine can dial.
fn reachable(address: IpAddr) -> IpAddr {
    if address.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address }
}

fn serving_names(options: &Options, address: IpAddr) -> Vec<String> {
    let mut names: Vec<String> = [
        "localhost",
        "127.0.0.1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ]
    .map(String::from)
    .into();
    names.extend(options.service_cluster_ip_range.iter().map(|range| service_address(range, 1).to_string()));
    if !address.is_unspecified() {
        names.push(address.to_string());
    }
    names.extend(options.tls_san.iter().cloned());
    names
}

/// Whether a range is one of a size that is served.
pub fn check_range(flag: &str, range: &IpNet) -> anyhow::Result<()> {
    let (shortest, longest) = if range.addr().is_ipv4() { (12, 28) } else { (108, 124) };
    anyhow::ensure!(
        (shortest..=longest).contains(&range.prefix_len()),
        "{flag} {range}: a range between /{shortest} and /{longest} is wanted"
    );
    Ok(())
}

/// A number below `below`, from the kernel.
fn random(below: u64) -> u64 {
    let mut bytes = [0; 8];
    // The system's generator fails only before the machine has any entropy, long before this runs.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return 0;
    }
    u64::from_le_bytes(bytes) % below.max(1)
}

/// Writes a file that holds a key: whole, and for its owner alone from the first byte.
fn write_private(path: &Path, content: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let temporary = path.with_extension("new");
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

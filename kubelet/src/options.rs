//! How a kubelet is set up, under upstream's flag names.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use serde_json::{Map, Value};

use crate::node::machine::Thresholds;
use crate::node::taint;
use crate::resources::Amounts;

/// Run the pods of this node
#[derive(Clone, Debug, Parser)]
#[command(name = "kubelet")]
pub struct Options {
    /// File that says where the API is and who we are.
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// The node's name; the host's name unless given.
    #[arg(long)]
    pub hostname_override: Option<String>,
    /// The node's addresses, IPv4 and IPv6 separated by a comma; that of the default route unless given.
    #[arg(long, value_delimiter = ',')]
    pub node_ip: Vec<IpAddr>,
    /// The runtime's socket.
    #[arg(long, default_value = "unix:///run/keelson/cri.sock")]
    pub container_runtime_endpoint: String,
    /// Folder of pods' volumes and files.
    #[arg(long, default_value = "/var/lib/kubelet")]
    pub root_dir: PathBuf,
    /// Folder of pods' logs; links to them are in `containers` beside it.
    #[arg(long, default_value = "/var/log/pods")]
    pub pod_logs_dir: PathBuf,
    /// The node's resolv.conf, from which pods' own are made.
    #[arg(long, default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// Address of the HTTPS server.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub address: IpAddr,
    /// Port of the HTTPS server.
    #[arg(long, default_value_t = 10250)]
    pub port: u16,
    /// Certificate of the HTTPS server; it signs itself unless given.
    #[arg(long, requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// Authorities of client certificates.
    #[arg(long)]
    pub client_ca_file: Option<PathBuf>,
    /// Addresses of the cluster's DNS.
    #[arg(long, value_delimiter = ',')]
    pub cluster_dns: Vec<IpAddr>,
    /// Domain of the cluster.
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Port of /healthz on loopback; 0 is none.
    #[arg(long, default_value_t = 10248)]
    pub healthz_port: u16,
    /// Labels of the Node: key=value, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = pair)]
    pub node_labels: Vec<(String, String)>,
    /// Taints that the Node is registered with: key=value:effect, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = taint)]
    pub register_with_taints: Vec<Value>,
    /// Pods that the node takes.
    #[arg(long, default_value_t = 110)]
    pub max_pods: i64,
    /// Kernel parameters that pods may set besides the safe ones; the end of a name may be a `*`.
    #[arg(long, value_delimiter = ',', value_parser = crate::admission::sysctls::pattern)]
    pub allowed_unsafe_sysctls: Vec<String>,
    /// Parent of all pods' cgroups.
    #[arg(long, default_value = "/kubepods")]
    pub cgroup_root: String,
    /// What Kubernetes itself uses: cpu=100m,memory=200Mi
    #[arg(long, value_delimiter = ',', value_parser = pair)]
    pub kube_reserved: Vec<(String, String)>,
    /// What the rest of the system uses.
    #[arg(long, value_delimiter = ',', value_parser = pair)]
    pub system_reserved: Vec<(String, String)>,
    /// Where the node is under pressure; empty: never.
    #[arg(
        long,
        default_value = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%",
        value_parser = thresholds
    )]
    pub eviction_hard: Thresholds,
    /// Percent of the disk of images from which on unused images are removed; 100 is never.
    #[arg(long, default_value_t = 85, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub image_gc_high_threshold: u64,
    /// Percent of the disk of images until which they are removed.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub image_gc_low_threshold: u64,
    /// Size at which a container's log is moved away.
    #[arg(long, default_value = "10Mi", value_parser = bytes)]
    pub container_log_max_size: u64,
    /// Files of a container's log.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(2..=100))]
    pub container_log_max_files: u64,
    /// Between two looks at the node.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub node_status_update_frequency: Duration,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not key=value"))?;
    if key.is_empty() { Err(format!("{text:?} has no key")) } else { Ok((key.to_owned(), value.to_owned())) }
}

fn bytes(text: &str) -> Result<u64, String> {
    let quantity = api::quantity::Quantity::parse(text).ok().map(|quantity| quantity.units());
    let bytes = quantity.and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| format!("{text:?} is no size such as 10Mi"))
}

/// Amounts in `cpu=100m,memory=1Gi` form.
pub fn amounts(pairs: &[(String, String)]) -> Amounts {
    let list: Map<String, Value> =
        pairs.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    Amounts::read(&list.into())
}

/// `memory.available<100Mi,nodefs.available<10%`; signals that are not watched are refused.
fn thresholds(text: &str) -> Result<Thresholds, String> {
    let mut out = Thresholds::default();
    for entry in text.split(',').filter(|entry| !entry.is_empty()) {
        let (signal, least) =
            entry.split_once('<').ok_or_else(|| format!("{entry:?} is not signal<quantity"))?;
        let percent = || {
            let number = least.strip_suffix('%').and_then(|number| number.parse::<u8>().ok());
            number.filter(|number| *number <= 100).ok_or_else(|| format!("{entry:?}: a percentage is wanted"))
        };
        match signal {
            "memory.available" => {
                let quantity = api::quantity::Quantity::parse(least)
                    .map_err(|_| format!("{entry:?}: a quantity such as 100Mi is wanted"))?;
                out.memory_bytes = quantity.units();
            }
            "nodefs.available" => out.disk_percent = percent()?,
            "nodefs.inodesFree" => out.inodes_percent = percent()?,
            other => {
                return Err(format!(
                    "{other:?} is not watched; memory.available, nodefs.available and nodefs.inodesFree are"
                ));
            }
        }
    }
    Ok(out)
}

/// `10s`, `1m30s`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration such as 10s or 1m30s");
    let (mut rest, mut sum) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let split = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..split].parse().map_err(|_| wrong())?;
        rest = &rest[split..];
        let end = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        sum += match &rest[..end] {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.saturating_mul(60)),
            "h" => Duration::from_secs(number.saturating_mul(3600)),
            _ => return Err(wrong()),
        };
        rest = &rest[end..];
    }
    if sum.is_zero() { Err(wrong()) } else { Ok(sum) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read() {
        let read = |more: &[&str]| {
            let mut words = vec!["kubelet", "--kubeconfig", "/k"];
            words.extend_from_slice(more);
            Options::try_parse_from(words)
        };
        let options = read(&[
            "--node-labels=a=b,c=d",
            "--register-with-taints=k=v:NoSchedule",
            "--kube-reserved=cpu=100m,memory=1Gi",
            "--node-ip=10.0.0.1,fd00::1",
            "--node-status-update-frequency=1m30s",
            "--eviction-hard=",
        ])
        .unwrap();
        assert_eq!(options.node_labels.len(), 2);
        assert_eq!(options.register_with_taints[0]["effect"], "NoSchedule");
        assert_eq!(amounts(&options.kube_reserved).memory, 1 << 30);
        assert_eq!(options.node_status_update_frequency, Duration::from_secs(90));
        assert_eq!(options.eviction_hard, Thresholds::default());
        let default = read(&[]).unwrap();
        assert_eq!(
            (default.eviction_hard.memory_bytes, default.container_log_max_size),
            (100 << 20, 10 << 20)
        );
        for wrong in
            ["--node-labels=a", "--eviction-hard=swap<1", "--node-status-update-frequency=9", "--port=x"]
        {
            assert!(read(&[wrong]).is_err(), "{wrong}");
        }
        assert!(read(&["--tls-cert-file=/c"]).is_err(), "a certificate without its key");
    }
}

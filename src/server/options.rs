//! The flags of `keelson server`, which its two processes read too.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use ipnet::IpNet;

/// A node's highest number of pods unless told otherwise, as upstream's.
const MAX_PODS: u32 = 110;
/// Who the control plane runs as: no user of the host, no capabilities.
const CONTROL_UID: u32 = 64_535;

/// Run a whole node: the API, its store, the controllers, and what runs pods
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// What lasts: store, keys, images, containers.
    #[arg(long, default_value = "/var/lib/keelson", env = "KEELSON_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// What lasts until the next boot: sockets, namespaces, addresses.
    #[arg(long, default_value = "/run/keelson", env = "KEELSON_STATE_DIR", value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Name of this node; the host's name by default.
    #[arg(long, env = "KEELSON_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Address of this node; that of the default route by default.
    #[arg(long, env = "KEELSON_NODE_IP", value_name = "ADDRESS")]
    pub node_ip: Option<IpAddr>,
    /// Range of pods' addresses.
    #[arg(long, default_value = "10.244.0.0/16", env = "KEELSON_CLUSTER_CIDR", value_name = "CIDR")]
    pub cluster_cidr: IpNet,
    /// Range of Services' addresses.
    #[arg(long, default_value = "10.96.0.0/16", env = "KEELSON_SERVICE_CIDR", value_name = "CIDR")]
    pub service_cidr: IpNet,
    /// Domain of cluster names.
    #[arg(long, default_value = "cluster.local", env = "KEELSON_CLUSTER_DOMAIN", value_name = "DOMAIN")]
    pub cluster_domain: String,
    /// Further names and addresses for the API's certificate.
    #[arg(long, env = "KEELSON_TLS_SAN", value_delimiter = ',', value_name = "NAME")]
    pub tls_san: Vec<String>,
    /// Address that the API listens on.
    #[arg(long, default_value = "0.0.0.0", env = "KEELSON_BIND_ADDRESS", value_name = "ADDRESS")]
    pub bind_address: IpAddr,
    /// Port that the API listens on.
    #[arg(long, default_value_t = 6443, env = "KEELSON_SECURE_PORT", value_parser = clap::value_parser!(u16).range(1..), value_name = "PORT")]
    pub secure_port: u16,
    /// Where to write the administrator's kubeconfig.
    #[arg(
        long,
        default_value = "/etc/keelson/admin.conf",
        env = "KEELSON_WRITE_KUBECONFIG",
        value_name = "FILE"
    )]
    pub write_kubeconfig: PathBuf,
    /// Keep pods without a toleration away from this node.
    #[arg(long, env = "KEELSON_NO_SCHEDULE")]
    pub no_schedule: bool,
    /// Label of this node.
    #[arg(long, env = "KEELSON_NODE_LABEL", value_delimiter = ',', value_name = "KEY=VALUE")]
    pub node_label: Vec<String>,
    /// Taint of this node.
    #[arg(long, env = "KEELSON_NODE_TAINT", value_delimiter = ',', value_name = "KEY=VALUE:EFFECT")]
    pub node_taint: Vec<String>,
    /// Parts that somebody else runs.
    #[arg(long, env = "KEELSON_DISABLE", value_delimiter = ',', value_name = "PARTS")]
    pub disable: Vec<Disabled>,
    /// Who connects pods: Keelson, or a plugin that is installed beside it.
    #[arg(long, default_value = "keelson", env = "KEELSON_CNI", value_name = "WHO")]
    pub cni: Cni,
    /// 2: the control plane has a process and a user of its own; 1: everything is one process.
    #[arg(long, default_value_t = 2, env = "KEELSON_PROCESSES", value_parser = clap::value_parser!(u8).range(1..=2), value_name = "1|2")]
    pub processes: u8,
    /// Most pods on this node.
    #[arg(long, default_value_t = MAX_PODS, env = "KEELSON_MAX_PODS", value_name = "COUNT")]
    pub max_pods: u32,
    /// Where the node is under pressure, as the kubelet's flag.
    #[arg(long, env = "KEELSON_EVICTION_HARD", value_name = "SIGNAL<AMOUNT,...")]
    pub eviction_hard: Option<String>,
    /// The kubelet's folder of pods and their volumes.
    #[arg(long, default_value = "/var/lib/kubelet", value_name = "DIR")]
    pub root_dir: PathBuf,
    /// Where pods' logs are.
    #[arg(long, default_value = "/var/log/pods", value_name = "DIR")]
    pub pod_logs_dir: PathBuf,
    /// Where the pod network's configuration is.
    #[arg(long, default_value = "/etc/cni/net.d", value_name = "DIR")]
    pub cni_conf_dir: PathBuf,
    /// Where CNI plugins are.
    #[arg(long, default_value = "/opt/cni/bin", value_name = "DIR")]
    pub cni_bin_dir: PathBuf,
    /// Registry hosts, one folder each with its hosts.toml.
    #[arg(long, default_value = "/etc/keelson/registries", value_name = "DIR")]
    pub registries: PathBuf,
    /// Parent of pods' cgroups.
    #[arg(long, default_value = "/kubepods", value_name = "PATH")]
    pub cgroup_root: String,
    /// The keeper's cgroup.
    #[arg(long, default_value = "/keelson/keeper", value_name = "PATH", hide = true)]
    pub keeper_cgroup: String,
    /// Where eBPF objects are pinned.
    #[arg(long, default_value = "/sys/fs/bpf/keelson", value_name = "DIR")]
    pub bpffs: PathBuf,
    /// Tag in the names of kernel objects, where several nodes live on one kernel.
    #[arg(long, default_value = "", value_name = "TAG", hide = true)]
    pub instance: String,
    /// Who the control plane's process runs as.
    #[arg(long, default_value_t = CONTROL_UID, env = "KEELSON_CONTROL_UID", value_name = "UID")]
    pub control_uid: u32,
    /// Set by the supervisor: end when standard input does.
    #[arg(long, hide = true)]
    pub supervised: bool,
}

/// A part that can be left to somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Disabled {
    Scheduler,
    Controllers,
    Proxy,
    Dns,
}

/// Who connects pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Cni {
    /// The agent, and the plugin in mode `auto`.
    Keelson,
    /// Whatever is configured in the CNI folder.
    None,
}

impl Options {
    /// Whether a part of ours runs.
    pub fn runs(&self, part: Disabled) -> bool {
        !self.disable.contains(&part)
    }
}

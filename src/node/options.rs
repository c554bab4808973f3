//! The flags of every node, with or without a control plane.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// A node's highest number of pods unless told otherwise, as upstream's.
const MAX_PODS: u32 = 110;

/// What every node has.
#[derive(Clone, Debug, Args)]
pub struct NodeOptions {
    /// What lasts: store, keys, images, containers.
    #[arg(long, default_value = "/var/lib/keelson", env = "KEELSON_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// What lasts until the next boot: sockets, namespaces, addresses.
    #[arg(long, default_value = "/run/keelson", env = "KEELSON_STATE_DIR", value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Name of this node; the host's name by default.
    #[arg(long, env = "KEELSON_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Addresses of this node, at most one of each family; that of the default route by default.
    #[arg(long, value_delimiter = ',', env = "KEELSON_NODE_IP", value_name = "ADDRESS[,ADDRESS]")]
    pub node_ip: Vec<IpAddr>,
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
    /// When other nodes are reached through a VXLAN tunnel.
    #[arg(long, default_value = "auto", env = "KEELSON_TUNNEL", value_name = "WHEN")]
    pub tunnel: ::agent::TunnelMode,
    /// Whether what goes on to other machines is sent by XDP in the uplink's driver.
    #[arg(long, default_value = "disabled", env = "KEELSON_ACCELERATION", value_name = "HOW")]
    pub acceleration: ::agent::Acceleration,
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
    /// Images that are never collected: a name, `start*`, or `*part*`.
    #[arg(long, env = "KEELSON_PINNED_IMAGE", value_delimiter = ',', value_name = "PATTERN")]
    pub pinned_image: Vec<String>,
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

impl NodeOptions {
    /// Whether a part of ours runs.
    pub fn runs(&self, part: Disabled) -> bool {
        !self.disable.contains(&part)
    }
}

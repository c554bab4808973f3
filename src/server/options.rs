//! The flags of `keelson server`, which its two processes read too.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser};
use ipnet::IpNet;

use crate::apiserver;
use crate::join_flags::JoinFlags;
use crate::node::NodeOptions;

/// Who the control plane runs as: no user of the host, no capabilities.
const CONTROL_UID: u32 = 64_535;

/// Run a whole node: the API, its store, the controllers, and what runs pods
#[derive(Clone, Debug, Parser)]
pub struct Options {
    #[command(flatten)]
    pub node: NodeOptions,
    #[command(flatten)]
    pub control: ControlOptions,
}

/// What only a server has.
#[derive(Clone, Debug, Args)]
pub struct ControlOptions {
    /// Ranges of pods' addresses: one, or one of each family.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "10.244.0.0/16",
        env = "KEELSON_CLUSTER_CIDR",
        value_name = "CIDR[,CIDR]"
    )]
    pub cluster_cidr: Vec<IpNet>,
    /// Ranges of Services' addresses: one, or one of each family.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "10.96.0.0/16",
        env = "KEELSON_SERVICE_CIDR",
        value_name = "CIDR[,CIDR]"
    )]
    pub service_cidr: Vec<IpNet>,
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
    /// Port by which other servers' stores reach this one's.
    #[arg(long, default_value_t = 2380, env = "KEELSON_PEER_PORT", value_parser = clap::value_parser!(u16).range(1..), value_name = "PORT")]
    pub peer_port: u16,
    /// A server of the cluster that this one is to be a further server of; its folder of keys must hold the cluster's.
    #[arg(long, env = "KEELSON_JOIN_PEER", value_delimiter = ',', value_name = "ADDRESS:PORT")]
    pub join_peer: Vec<String>,
    /// A server (https://ADDRESS:PORT) of the cluster that this one is to be a further server of; needs a token once.
    #[arg(long, env = "KEELSON_JOIN", value_name = "URL", conflicts_with = "join_peer")]
    pub join: Option<String>,
    #[command(flatten)]
    pub token: JoinFlags,
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
    #[command(flatten)]
    pub extras: apiserver::Extras,
    /// 2: the control plane has a process and a user of its own; 1: everything is one process.
    #[arg(long, default_value_t = 2, env = "KEELSON_PROCESSES", value_parser = clap::value_parser!(u8).range(1..=2), value_name = "1|2")]
    pub processes: u8,
    /// Who the control plane's process runs as.
    #[arg(long, default_value_t = CONTROL_UID, env = "KEELSON_CONTROL_UID", value_name = "UID")]
    pub control_uid: u32,
}

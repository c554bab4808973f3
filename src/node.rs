//! The node's process: what runs pods and connects them. Root.

mod layout;
mod options;

use std::net::Ipv4Addr;

use clap::ValueEnum as _;

use crate::parts::Part;

pub use layout::{
    Layout, Machine, dns_service, everywhere, flag, joined, one_per_family, service_address, shown,
};
pub use options::{Cni, Disabled, NodeOptions};

/// What runs in the node's process, each with its flags. None waits for another to be started first.
pub fn parts(layout: &Layout) -> Vec<Part> {
    let mut parts =
        vec![Part::with_flags("cri", cri_flags(layout), |options: cri::Options, stopping| async move {
            Ok(cri::serve(options.absolute()?, stopping).await?)
        })];
    if layout.options.cni == Cni::Keelson {
        parts.push(Part::with_flags("net-agent", agent_flags(layout), ::agent::run));
    }
    if layout.options.runs(Disabled::Proxy) {
        parts.push(Part::with_flags("proxy", proxy_flags(layout), proxy::run));
    }
    if layout.options.runs(Disabled::Dns) {
        parts.push(Part::with_flags("dns", dns_flags(layout), dns::run));
    }
    parts.push(Part::with_flags("kubelet", kubelet_flags(layout), kubelet::run));
    parts
}

fn cri_flags(layout: &Layout) -> Vec<String> {
    let options = &layout.options;
    let mut flags = vec![
        flag("listen", format!("unix://{}", shown(&layout.cri_socket()))),
        flag("root", shown(&options.data_dir)),
        flag("state", shown(&options.state_dir)),
        flag("cni-conf-dir", shown(&options.cni_conf_dir)),
        flag("cni-bin-dir", shown(&options.cni_bin_dir)),
        flag("registries", shown(&options.registries)),
        flag("cgroup-root", &options.cgroup_root),
        flag("keeper-cgroup", &options.keeper_cgroup),
    ];
    flags.extend(options.pinned_image.iter().map(|pattern| flag("pinned-image", pattern)));
    flags
}

fn dns_flags(layout: &Layout) -> Vec<String> {
    vec![
        flag("kubeconfig", shown(&layout.node("dns.conf"))),
        flag("cluster-domain", &layout.cluster.domain),
        flag("listen", joined(&layout.dns_listen())),
        "--publish-service".into(),
        flag("cluster-dns", joined(&layout.cluster.dns)),
        flag("node-ip", joined(&layout.node_ips)),
        flag("hostname-override", &layout.node_name),
    ]
}

fn agent_flags(layout: &Layout) -> Vec<String> {
    let options = &layout.options;
    let mut flags = vec![
        flag("kubeconfig", shown(&layout.node("agent.conf"))),
        flag("node-name", &layout.node_name),
        flag("node-ip", joined(&layout.node_ips)),
        flag("cluster-cidr", joined(&layout.cluster.pods)),
        flag("service-cidr", joined(&layout.cluster.services)),
        flag("state-dir", shown(&options.state_dir)),
        flag("cni-conf-dir", shown(&options.cni_conf_dir)),
        flag(
            "tunnel",
            options.tunnel.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned()),
        ),
        flag(
            "acceleration",
            options
                .acceleration
                .to_possible_value()
                .map_or(String::new(), |value| value.get_name().to_owned()),
        ),
    ];
    flags.extend(data_path_flags(layout));
    flags
}

fn data_path_flags(layout: &Layout) -> Vec<String> {
    let mut flags = vec![flag("bpffs", shown(&layout.options.bpffs))];
    if !layout.options.instance.is_empty() {
        flags.push(flag("instance", &layout.options.instance));
    }
    flags
}

fn kubelet_flags(layout: &Layout) -> Vec<String> {
    let options = &layout.options;
    let mut flags = vec![
        flag("kubeconfig", shown(&layout.node("kubelet.conf"))),
        flag("hostname-override", &layout.node_name),
        flag("node-ip", joined(&layout.node_ips)),
        flag("address", everywhere(Ipv4Addr::UNSPECIFIED.into(), &layout.node_ips)),
        flag("container-runtime-endpoint", format!("unix://{}", shown(&layout.cri_socket()))),
        flag("root-dir", shown(&options.root_dir)),
        flag("pod-logs-dir", shown(&options.pod_logs_dir)),
        flag("tls-cert-file", shown(&layout.serving.0)),
        flag("tls-private-key-file", shown(&layout.serving.1)),
        flag("client-ca-file", shown(&layout.node("ca.crt"))),
        flag("cluster-domain", &layout.cluster.domain),
        flag("cgroup-root", &options.cgroup_root),
        flag("max-pods", options.max_pods),
    ];
    if options.runs(Disabled::Dns) {
        flags.push(flag("cluster-dns", joined(&layout.cluster.dns)));
    }
    flags.extend(options.eviction_hard.iter().map(|thresholds| flag("eviction-hard", thresholds)));
    flags.extend(options.node_label.iter().map(|label| flag("node-labels", label)));
    let taints = options.node_taint.iter().chain(&layout.taints);
    flags.extend(taints.map(|taint| flag("register-with-taints", taint)));
    flags
}

fn proxy_flags(layout: &Layout) -> Vec<String> {
    let mut flags = vec![
        flag("kubeconfig", shown(&layout.node("proxy.conf"))),
        flag("hostname-override", &layout.node_name),
        flag("cluster-cidr", joined(&layout.cluster.pods)),
    ];
    flags.extend(data_path_flags(layout));
    flags
}

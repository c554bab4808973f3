//! The node's process: what runs pods and connects them. Root.

use super::control::flag;
use super::layout::{Layout, shown};
use super::options::{Cni, Disabled};
use crate::parts::Part;

/// The taint of `--no-schedule`, as kubeadm's.
const NO_SCHEDULE: &str = "node-role.kubernetes.io/control-plane=:NoSchedule";

/// What runs in the node's process, each with its flags. None waits for another to be started first.
pub fn parts(layout: &Layout) -> Vec<Part> {
    let mut parts =
        vec![Part::with_flags("cri", cri_flags(layout), |options: cri::Options, stopping| async move {
            Ok(cri::serve(options.absolute()?, stopping).await?)
        })];
    if layout.options.cni == Cni::Keelson {
        parts.push(Part::with_flags("net-agent", agent_flags(layout), agent::run));
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
    vec![
        flag("listen", format!("unix://{}", shown(&layout.cri_socket()))),
        flag("root", shown(&options.data_dir)),
        flag("state", shown(&options.state_dir)),
        flag("cni-conf-dir", shown(&options.cni_conf_dir)),
        flag("cni-bin-dir", shown(&options.cni_bin_dir)),
        flag("registries", shown(&options.registries)),
        flag("cgroup-root", &options.cgroup_root),
        flag("keeper-cgroup", &options.keeper_cgroup),
    ]
}

fn dns_flags(layout: &Layout) -> Vec<String> {
    vec![
        flag("kubeconfig", shown(&layout.node("dns.conf"))),
        flag("cluster-domain", &layout.options.cluster_domain),
        flag("listen", layout.dns_listen()),
        "--publish-service".into(),
        flag("cluster-dns", layout.dns_service),
        flag("node-ip", layout.node_ip),
        flag("hostname-override", &layout.node_name),
    ]
}

fn agent_flags(layout: &Layout) -> Vec<String> {
    let options = &layout.options;
    let mut flags = vec![
        flag("kubeconfig", shown(&layout.node("agent.conf"))),
        flag("node-name", &layout.node_name),
        flag("node-ip", layout.node_ip),
        flag("cluster-cidr", options.cluster_cidr),
        flag("service-cidr", options.service_cidr),
        flag("state-dir", shown(&options.state_dir)),
        flag("cni-conf-dir", shown(&options.cni_conf_dir)),
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
        flag("node-ip", layout.node_ip),
        flag("container-runtime-endpoint", format!("unix://{}", shown(&layout.cri_socket()))),
        flag("root-dir", shown(&options.root_dir)),
        flag("pod-logs-dir", shown(&options.pod_logs_dir)),
        flag("tls-cert-file", shown(&layout.node("kubelet.crt"))),
        flag("tls-private-key-file", shown(&layout.node("kubelet.key"))),
        flag("client-ca-file", shown(&layout.node("ca.crt"))),
        flag("cluster-domain", &options.cluster_domain),
        flag("cgroup-root", &options.cgroup_root),
        flag("max-pods", options.max_pods),
    ];
    if options.runs(Disabled::Dns) {
        flags.push(flag("cluster-dns", layout.dns_service));
    }
    flags.extend(options.eviction_hard.iter().map(|thresholds| flag("eviction-hard", thresholds)));
    flags.extend(options.node_label.iter().map(|label| flag("node-labels", label)));
    let taints = options.node_taint.iter().map(String::as_str);
    let taints = taints.chain(options.no_schedule.then_some(NO_SCHEDULE));
    flags.extend(taints.map(|taint| flag("register-with-taints", taint)));
    flags
}

fn proxy_flags(layout: &Layout) -> Vec<String> {
    let mut flags = vec![
        flag("kubeconfig", shown(&layout.node("proxy.conf"))),
        flag("hostname-override", &layout.node_name),
        flag("cluster-cidr", layout.options.cluster_cidr),
    ];
    flags.extend(data_path_flags(layout));
    flags
}

//! The node's process: what runs pods and connects them. Root.

use super::control::flag;
use super::layout::{Layout, shown};
use super::options::Disabled;
use crate::parts::Part;

/// What runs in the node's process, each with its flags. None waits for another to be started first.
pub fn parts(layout: &Layout) -> Vec<Part> {
    let mut parts =
        vec![Part::with_flags("cri", cri_flags(layout), |options: cri::Options, stopping| async move {
            Ok(cri::serve(options.absolute()?, stopping).await?)
        })];
    if layout.options.runs(Disabled::Dns) {
        parts.push(Part::with_flags("dns", dns_flags(layout), dns::run));
    }
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

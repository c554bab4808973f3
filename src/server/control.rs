//! The control plane's process: API with its store, scheduler, controllers. Its own user, no capabilities.

use std::net::{IpAddr, SocketAddr};

use super::joining;
use super::layout::ServerLayout;
use crate::apiserver;
use crate::node::{Disabled, everywhere, flag, joined, shown};
use crate::parts::Part;

/// What runs in the control plane's process, each with its flags.
pub fn parts(layout: &ServerLayout) -> Vec<Part> {
    let mut parts = vec![Part::with_flags(
        "apiserver",
        apiserver_flags(layout),
        |mut options: apiserver::Options, stopping| async move {
            // The supervisor has written the administrator's.
            options.write_kubeconfig = None;
            apiserver::run(options, stopping).await
        },
    )];
    if layout.node.options.runs(Disabled::Controllers) {
        parts.push(Part::with_flags("controllers", controllers_flags(layout), controllers::run));
    }
    if layout.node.options.runs(Disabled::Scheduler) {
        parts.push(Part::with_flags("scheduler", scheduler_flags(layout), scheduler::run));
    }
    parts
}

/// The API's flags, as somebody would type them.
pub fn apiserver_flags(layout: &ServerLayout) -> Vec<String> {
    let (node, control) = (&layout.node, &layout.control);
    let issuer = format!("https://kubernetes.default.svc.{}", control.cluster_domain);
    let mut flags = vec![
        flag("data-dir", shown(&node.options.data_dir)),
        flag("bind-address", everywhere(control.bind_address, &node.node_ips)),
        flag("secure-port", control.secure_port),
        flag("service-cluster-ip-range", joined(&control.service_cidr)),
        flag("service-account-issuer", issuer),
        flag("tls-san", &node.node_name),
    ];
    flags.extend(node.node_ips.first().map(|address| flag("advertise-address", address)));
    // The store's other members reach this one there.
    let peer = |address: &IpAddr| flag("peer-address", SocketAddr::new(*address, control.peer_port));
    flags.extend(node.node_ips.first().map(peer));
    flags.push(flag("peer-name", &node.node_name));
    let told = control.join.as_ref().map(|_| joining::members(&node.options.data_dir)).unwrap_or_default();
    flags.extend(control.join_peer.iter().chain(&told).map(|peer| flag("join-peer", peer)));
    flags.extend(node.node_ips.iter().skip(1).map(|address| flag("tls-san", address)));
    flags.extend(
        node.cluster.facts().iter().map(|(name, value)| flag("tell-nodes", format!("{name}={value}"))),
    );
    flags.extend(control.extras.flags());
    flags.extend(control.tls_san.iter().map(|name| flag("tls-san", name)));
    flags
}

fn controllers_flags(layout: &ServerLayout) -> Vec<String> {
    vec![
        flag("kubeconfig", shown(&layout.control("controllers.conf"))),
        flag("cluster-cidr", joined(&layout.control.cluster_cidr)),
        flag("cluster-signing-cert-file", shown(&layout.pki("ca.crt"))),
        flag("cluster-signing-key-file", shown(&layout.pki("ca.key"))),
        "--leader-elect".into(),
        flag("leader-elect-identity", &layout.node.node_name),
    ]
}

fn scheduler_flags(layout: &ServerLayout) -> Vec<String> {
    vec![
        flag("kubeconfig", shown(&layout.control("scheduler.conf"))),
        "--leader-elect".into(),
        flag("leader-elect-identity", &layout.node.node_name),
    ]
}

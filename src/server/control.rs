//! The control plane's process: API with its store, scheduler, controllers. Its own user, no capabilities.

use super::layout::{Layout, shown};
use super::options::Disabled;
use crate::apiserver;
use crate::parts::Part;

/// What runs in the control plane's process, each with its flags.
pub fn parts(layout: &Layout) -> Vec<Part> {
    let mut parts = vec![Part::with_flags(
        "apiserver",
        apiserver_flags(layout),
        |mut options: apiserver::Options, stopping| async move {
            // The supervisor has written the administrator's.
            options.write_kubeconfig = None;
            apiserver::run(options, stopping).await
        },
    )];
    if layout.options.runs(Disabled::Controllers) {
        parts.push(Part::with_flags("controllers", controllers_flags(layout), controllers::run));
    }
    if layout.options.runs(Disabled::Scheduler) {
        parts.push(Part::with_flags("scheduler", scheduler_flags(layout), scheduler::run));
    }
    parts
}

/// The API's flags, as somebody would type them.
pub fn apiserver_flags(layout: &Layout) -> Vec<String> {
    let options = &layout.options;
    let issuer = format!("https://kubernetes.default.svc.{}", options.cluster_domain);
    let mut flags = vec![
        flag("data-dir", shown(&options.data_dir)),
        flag("bind-address", options.bind_address),
        flag("secure-port", options.secure_port),
        flag("advertise-address", layout.node_ip),
        flag("service-cluster-ip-range", options.service_cidr),
        flag("service-account-issuer", issuer),
        flag("tls-san", &layout.node_name),
    ];
    flags.extend(options.tls_san.iter().map(|name| flag("tls-san", name)));
    flags
}

fn controllers_flags(layout: &Layout) -> Vec<String> {
    vec![
        flag("kubeconfig", shown(&layout.control("controllers.conf"))),
        flag("cluster-cidr", layout.options.cluster_cidr),
    ]
}

fn scheduler_flags(layout: &Layout) -> Vec<String> {
    vec![flag("kubeconfig", shown(&layout.control("scheduler.conf")))]
}

/// `--name=value`: one word, so that a value may begin with a dash.
pub fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

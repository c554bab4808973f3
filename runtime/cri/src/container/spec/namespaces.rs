//! Which namespaces a container joins and which are its own.

use std::path::PathBuf;

use cri_api::v1::NamespaceMode;
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType};
use sys::cgroup::Mode;

use super::{Context, Inputs};

/// The list for the specification. What is not in it is the host's.
pub fn of(inputs: &Inputs<'_>, context: &Context<'_>) -> Vec<LinuxNamespace> {
    let sandbox = &inputs.sandbox;
    let mut list = vec![entry(LinuxNamespaceType::Mount, None)];
    let mut join = |kind, path: &Option<PathBuf>| {
        if let Some(path) = path {
            list.push(entry(kind, Some(path.clone())));
        }
    };
    join(LinuxNamespaceType::Network, &sandbox.net);
    join(LinuxNamespaceType::Ipc, &sandbox.ipc);
    join(LinuxNamespaceType::Uts, &sandbox.uts);
    join(LinuxNamespaceType::Pid, &sandbox.pid);
    join(LinuxNamespaceType::User, &sandbox.user.as_ref().map(|user| user.path.clone()));
    if context.namespaces.pid() == NamespaceMode::Container {
        list.push(entry(LinuxNamespaceType::Pid, None));
    }
    // On v1 and hybrid hosts other runtimes leave it out too: programs look for their path there.
    if context.host.cgroups == Mode::Unified && !context.privileged {
        list.push(entry(LinuxNamespaceType::Cgroup, None));
    }
    list
}

fn entry(kind: LinuxNamespaceType, path: Option<PathBuf>) -> LinuxNamespace {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(kind).set_path(path);
    namespace
}

//! Which namespaces a pod shares with the node, and its containers with each other.

use cri_api::v1;
use cri_api::v1::NamespaceMode;

use crate::pod::Pod;

/// The pod's namespaces; `user` are its own ids, where it has them.
pub fn of(pod: &Pod, user: Option<&v1::UserNamespace>) -> v1::NamespaceOption {
    let spec = pod.spec();
    let node_or_pod = |node: bool| if node { NamespaceMode::Node } else { NamespaceMode::Pod };
    let pid = if spec["hostPID"] == true {
        NamespaceMode::Node
    } else if spec["shareProcessNamespace"] == true {
        NamespaceMode::Pod
    } else {
        NamespaceMode::Container
    };
    v1::NamespaceOption {
        network: node_or_pod(pod.host_network).into(),
        pid: pid.into(),
        ipc: node_or_pod(spec["hostIPC"] == true).into(),
        target_id: String::new(),
        userns_options: user.cloned(),
    }
}

//! Roles for machines that join, for the controllers that let them, and for the parts of a joined node.
//!
//! A joined node has two client certificates: its kubelet's (`system:nodes`, narrowed by the node authorizer), and one for
//! its network agent, proxy and DNS (`system:keelson:node-parts`), which may what those parts' own users may on a server,
//! and writes, by admission, only to its own Node and its own slices.
//!
//! Reference: upstream's bootstrap policy; what kubeadm adds to it.

use super::{BindingRow, RoleRow, SubjectRow, bind, on, on_named, on_paths, role};
use crate::bootstrap::cluster_info;
use crate::handover;

const GROUP: &str = "certificates.k8s.io";
const NODES: &str = "system:nodes";
const NODE_PARTS: &str = "system:keelson:node-parts";
const BOOTSTRAPPERS: &str = "system:bootstrappers";
const NODE_CLIENT: &str = "system:certificates.k8s.io:certificatesigningrequests:nodeclient";
const SELF_NODE_CLIENT: &str = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient";
const SIGNERS: &str = "kubernetes.io/kube-apiserver-client kubernetes.io/kube-apiserver-client-kubelet kubernetes.io/kubelet-serving keelson.dev/node-parts";
const SLICES: &str = "system:keelson:dns-slices";
const INFO_READER: &str = "kubeadm:bootstrap-signer-clusterinfo";
const CLUSTER_READER: &str = "system:keelson:cluster-reader";
const SERVER_BOOTSTRAPPER: &str = "system:keelson:server-bootstrapper";
const TOKEN_CLEANER: &str = "system:controller:token-cleaner";

pub(super) fn roles() -> Vec<RoleRow> {
    let approver = |name, signer| role(name, vec![on_named("approve", GROUP, "signers", signer)]);
    vec![
        role(NODE_CLIENT, vec![on("create", GROUP, "certificatesigningrequests/nodeclient")]),
        role(SELF_NODE_CLIENT, vec![on("create", GROUP, "certificatesigningrequests/selfnodeclient")]),
        role(SERVER_BOOTSTRAPPER, vec![on_paths("get", handover::PATH)]),
        approver(
            "system:certificates.k8s.io:kube-apiserver-client-approver",
            "kubernetes.io/kube-apiserver-client",
        ),
        approver(
            "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
            "kubernetes.io/kube-apiserver-client-kubelet",
        ),
        approver("system:certificates.k8s.io:kubelet-serving-approver", "kubernetes.io/kubelet-serving"),
        role(
            "system:controller:certificate-controller",
            vec![
                on("delete get list watch", GROUP, "certificatesigningrequests"),
                on("update", GROUP, "certificatesigningrequests/approval certificatesigningrequests/status"),
                on_named("approve sign", GROUP, "signers", SIGNERS),
                on("create", "authorization.k8s.io", "subjectaccessreviews"),
                on("create patch update", "core events.k8s.io", "events"),
            ],
        ),
    ]
}

pub(super) fn namespaced_roles() -> Vec<(&'static str, RoleRow)> {
    vec![
        ("kube-public", role(INFO_READER, vec![on_named("get", "core", "configmaps", cluster_info::INFO)])),
        (
            "kube-system",
            role(CLUSTER_READER, vec![on_named("get", "core", "configmaps", cluster_info::CLUSTER)]),
        ),
        ("kube-system", role(SLICES, vec![on("create get update", "discovery.k8s.io", "endpointslices")])),
        (
            "kube-system",
            role(
                TOKEN_CLEANER,
                vec![
                    on("delete get list watch", "core", "secrets"),
                    on("create patch update", "core events.k8s.io", "events"),
                ],
            ),
        ),
    ]
}

pub(super) fn bindings() -> Vec<BindingRow> {
    use SubjectRow::{Account, Group, User};
    let within =
        |namespace, name, subjects| BindingRow { name, namespace, role_kind: "Role", role: name, subjects };
    let parts = |name, role| bind(name, role, vec![Group(NODE_PARTS)]);
    vec![
        bind("system:keelson:node-bootstrapper", "system:node-bootstrapper", vec![Group(BOOTSTRAPPERS)]),
        bind(SERVER_BOOTSTRAPPER, SERVER_BOOTSTRAPPER, vec![Group(handover::SERVERS)]),
        bind("system:keelson:node-autoapprove-bootstrap", NODE_CLIENT, vec![Group(BOOTSTRAPPERS)]),
        bind("system:keelson:node-autoapprove-certificate-rotation", SELF_NODE_CLIENT, vec![Group(NODES)]),
        bind(
            "system:controller:certificate-controller",
            "system:controller:certificate-controller",
            vec![Account("certificate-controller")],
        ),
        parts("system:keelson:node-parts:agent", "system:keelson:agent"),
        parts("system:keelson:node-parts:proxy", "system:node-proxier"),
        parts("system:keelson:node-parts:names", "system:kube-dns"),
        parts("system:keelson:node-parts:dns", "system:keelson:dns"),
        within("kube-public", INFO_READER, vec![User("system:anonymous")]),
        within("kube-system", CLUSTER_READER, vec![Group(NODES)]),
        within("kube-system", SLICES, vec![Group(NODE_PARTS)]),
        within("kube-system", TOKEN_CLEANER, vec![Account("token-cleaner")]),
    ]
}

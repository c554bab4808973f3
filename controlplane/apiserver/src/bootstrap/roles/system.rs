//! Roles for the parts of a cluster: nodes, scheduler, controller manager, proxy, DNS.

use super::{BindingRow, RoleRow, SubjectRow, bind, on, on_named, on_paths, role};
use crate::authorization::Rule;

const READ: &str = "get list watch";
const EVENTS: &str = "create patch update";

/// Events in both groups.
fn events() -> Rule {
    on(EVENTS, "core events.k8s.io", "events")
}

pub(super) fn roles() -> Vec<RoleRow> {
    vec![
        role("system:node", node()),
        role("system:kube-scheduler", scheduler()),
        role("system:kube-controller-manager", controller_manager()),
        role(
            "system:node-proxier",
            vec![
                on("list watch", "core", "endpoints services"),
                on(READ, "core", "nodes"),
                events(),
                on("list watch", "discovery.k8s.io", "endpointslices"),
                on("list watch", "networking.k8s.io", "servicecidrs"),
            ],
        ),
        role(
            "system:kube-dns",
            vec![
                on("list watch", "core", "endpoints services"),
                on("list watch", "discovery.k8s.io", "endpointslices"),
            ],
        ),
        role(
            "system:node-bootstrapper",
            vec![on("create get list watch", "certificates.k8s.io", "certificatesigningrequests")],
        ),
        role(
            "system:node-problem-detector",
            vec![on("get", "core", "nodes"), on("patch", "core", "nodes/status"), events()],
        ),
        role(
            "system:auth-delegator",
            vec![
                on("create", "authentication.k8s.io", "tokenreviews"),
                on("create", "authorization.k8s.io", "subjectaccessreviews"),
            ],
        ),
        role(
            "system:kubelet-api-admin",
            vec![
                on(READ, "core", "nodes"),
                on("proxy", "core", "nodes"),
                on(
                    "*",
                    "core",
                    "nodes/log nodes/metrics nodes/proxy nodes/stats nodes/configz nodes/healthz nodes/pods",
                ),
            ],
        ),
        role("system:kube-aggregator", vec![on(READ, "core", "endpoints services")]),
        role(
            "system:heapster",
            vec![on(READ, "core", "events namespaces nodes pods"), on(READ, "extensions", "deployments")],
        ),
        role(
            "system:volume-scheduler",
            vec![
                on("get list patch update watch", "core", "persistentvolumes"),
                on(READ, "storage.k8s.io", "storageclasses"),
                on("get list patch update watch", "core", "persistentvolumeclaims"),
            ],
        ),
        role(
            "system:persistent-volume-provisioner",
            vec![
                on("create delete get list watch", "core", "persistentvolumes"),
                on("get list update watch", "core", "persistentvolumeclaims"),
                on(READ, "storage.k8s.io", "storageclasses"),
                on("watch", "core", "events"),
                events(),
            ],
        ),
    ]
}

/// A kubelet. The node authorizer narrows this to what belongs to the node.
pub(super) fn node() -> Vec<Rule> {
    vec![
        on("create", "authentication.k8s.io", "tokenreviews"),
        on("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
        on(READ, "core", "services"),
        on("create get list watch", "core", "nodes"),
        on("patch update", "core", "nodes/status"),
        on("patch update", "core", "nodes"),
        on(READ, "core", "pods"),
        on("create delete", "core", "pods"),
        on("patch update", "core", "pods/status"),
        on("create", "core", "pods/eviction"),
        on(READ, "core", "configmaps secrets"),
        on("get", "core", "persistentvolumeclaims persistentvolumes"),
        on("get", "core", "endpoints"),
        on("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
        on("create delete get patch update", "coordination.k8s.io", "leases"),
        on("create", "core", "serviceaccounts/token"),
        on("get", "core", "serviceaccounts"),
        on(READ, "node.k8s.io", "runtimeclasses"),
        on(READ, "storage.k8s.io", "csidrivers"),
        on("create delete get patch update", "storage.k8s.io", "csinodes"),
        events(),
    ]
}

fn scheduler() -> Vec<Rule> {
    vec![
        events(),
        on("create", "coordination.k8s.io", "leases"),
        on_named("get update", "coordination.k8s.io", "leases", "kube-scheduler"),
        on(READ, "core", "nodes"),
        on("delete get list watch", "core", "pods"),
        on("create", "core", "bindings pods/binding"),
        on("patch update", "core", "pods/status"),
        on(READ, "core", "replicationcontrollers services"),
        on(READ, "apps", "replicasets statefulsets"),
        on(READ, "policy", "poddisruptionbudgets"),
        on(READ, "core", "namespaces persistentvolumeclaims persistentvolumes"),
        on("create", "authentication.k8s.io", "tokenreviews"),
        on("create", "authorization.k8s.io", "subjectaccessreviews"),
        on(
            READ,
            "storage.k8s.io",
            "csidrivers csinodes csistoragecapacities storageclasses volumeattachments",
        ),
        on(READ, "resource.k8s.io", "deviceclasses resourceclaims resourceslices"),
    ]
}

fn controller_manager() -> Vec<Rule> {
    vec![
        events(),
        on("create", "coordination.k8s.io", "leases"),
        on_named("get update", "coordination.k8s.io", "leases", "kube-controller-manager"),
        on("create", "core", "secrets serviceaccounts"),
        on("delete", "core", "secrets"),
        on("get", "core", "configmaps namespaces secrets serviceaccounts"),
        on("update", "core", "secrets serviceaccounts"),
        on("create", "authentication.k8s.io", "tokenreviews"),
        on("create", "authorization.k8s.io", "subjectaccessreviews"),
        on("list watch", "*", "*"),
        on("create", "core", "serviceaccounts/token"),
        on_paths("get", "/healthz"),
    ]
}

pub(super) fn namespaced_roles() -> Vec<(&'static str, RoleRow)> {
    vec![
        (
            "kube-system",
            role(
                "extension-apiserver-authentication-reader",
                vec![on_named(READ, "core", "configmaps", "extension-apiserver-authentication")],
            ),
        ),
        (
            "kube-system",
            role(
                "system::leader-locking-kube-controller-manager",
                vec![
                    on("watch", "core", "configmaps"),
                    on_named("get update", "core", "configmaps", "kube-controller-manager"),
                ],
            ),
        ),
        (
            "kube-system",
            role(
                "system::leader-locking-kube-scheduler",
                vec![
                    on("watch", "core", "configmaps"),
                    on_named("get update", "core", "configmaps", "kube-scheduler"),
                ],
            ),
        ),
        (
            "kube-public",
            role(
                "system:controller:bootstrap-signer",
                vec![
                    on(READ, "core", "configmaps"),
                    on_named("update", "core", "configmaps", "cluster-info"),
                    events(),
                ],
            ),
        ),
    ]
}

pub(super) fn bindings() -> Vec<BindingRow> {
    use SubjectRow::{Account, User};
    let in_kube_system = |name, role, subjects| BindingRow {
        name,
        namespace: "kube-system",
        role_kind: "Role",
        role,
        subjects,
    };
    vec![
        // Nobody: the node authorizer grants what is in the role, and narrows it.
        bind("system:node", "system:node", vec![]),
        bind("system:node-proxier", "system:node-proxier", vec![User("system:kube-proxy")]),
        bind("system:kube-scheduler", "system:kube-scheduler", vec![User("system:kube-scheduler")]),
        bind("system:volume-scheduler", "system:volume-scheduler", vec![User("system:kube-scheduler")]),
        bind(
            "system:kube-controller-manager",
            "system:kube-controller-manager",
            vec![User("system:kube-controller-manager")],
        ),
        bind("system:kube-dns", "system:kube-dns", vec![Account("kube-dns"), User("system:kube-dns")]),
        in_kube_system(
            "system::extension-apiserver-authentication-reader",
            "extension-apiserver-authentication-reader",
            vec![User("system:kube-controller-manager"), User("system:kube-scheduler")],
        ),
        in_kube_system(
            "system::leader-locking-kube-controller-manager",
            "system::leader-locking-kube-controller-manager",
            vec![User("system:kube-controller-manager"), Account("kube-controller-manager")],
        ),
        in_kube_system(
            "system::leader-locking-kube-scheduler",
            "system::leader-locking-kube-scheduler",
            vec![User("system:kube-scheduler"), Account("kube-scheduler")],
        ),
    ]
}

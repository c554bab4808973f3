//! One role per controller, bound to its ServiceAccount in kube-system: each may what its work needs.

use super::{BindingRow, RoleRow, SubjectRow, bind, on, role};
use crate::authorization::Rule;

const READ: &str = "get list watch";

fn events() -> Rule {
    on("create patch update", "core events.k8s.io", "events")
}

pub(super) fn roles() -> Vec<RoleRow> {
    vec![
        role(
            "system:controller:deployment-controller",
            vec![
                on("get list update watch", "apps", "deployments"),
                on("update", "apps", "deployments/status"),
                on("update", "apps", "deployments/finalizers"),
                on("create delete get list patch update watch", "apps", "replicasets"),
                on("get list update watch", "core", "pods"),
                events(),
            ],
        ),
        role(
            "system:controller:replicaset-controller",
            vec![
                on("get list update watch", "apps", "replicasets"),
                on("update", "apps", "replicasets/status"),
                on("update", "apps", "replicasets/finalizers"),
                on("create delete list patch watch", "core", "pods"),
                events(),
            ],
        ),
        role(
            "system:controller:replication-controller",
            vec![
                on("get list update watch", "core", "replicationcontrollers"),
                on("update", "core", "replicationcontrollers/status"),
                on("update", "core", "replicationcontrollers/finalizers"),
                on("create delete list patch watch", "core", "pods"),
                events(),
            ],
        ),
        role(
            "system:controller:job-controller",
            vec![
                on("get list patch update watch", "batch", "jobs"),
                on("update", "batch", "jobs/status"),
                on("update", "batch", "jobs/finalizers"),
                on("create delete list patch watch", "core", "pods"),
                events(),
            ],
        ),
        role(
            "system:controller:endpointslice-controller",
            vec![
                on(READ, "core", "nodes pods services"),
                on("update", "core", "services/finalizers"),
                on("create delete get list update watch", "discovery.k8s.io", "endpointslices"),
                events(),
            ],
        ),
        role(
            "system:controller:namespace-controller",
            vec![
                on("delete get list watch", "core", "namespaces"),
                on("update", "core", "namespaces/finalize namespaces/status"),
                on("delete deletecollection get list", "*", "*"),
            ],
        ),
        role(
            "system:controller:service-account-controller",
            vec![
                on("create", "core", "serviceaccounts"),
                on(READ, "core", "namespaces serviceaccounts"),
                events(),
            ],
        ),
        role(
            "system:controller:root-ca-cert-publisher",
            vec![
                on("create update", "core", "configmaps"),
                on(READ, "core", "configmaps namespaces"),
                events(),
            ],
        ),
        role(
            "system:controller:generic-garbage-collector",
            vec![on("delete get list patch update watch", "*", "*"), events()],
        ),
        role(
            "system:controller:pod-garbage-collector",
            vec![
                on("delete list watch", "core", "pods"),
                on("get list", "core", "nodes"),
                on("patch update", "core", "pods/status"),
            ],
        ),
        role(
            "system:controller:node-controller",
            vec![
                on("delete get list patch update", "core", "nodes"),
                on("patch update", "core", "nodes/status"),
                on("delete get list", "core", "pods"),
                on("patch update", "core", "pods/status"),
                on("list watch", "coordination.k8s.io", "leases"),
                events(),
            ],
        ),
        role(
            "system:controller:ttl-controller",
            vec![on("list patch update watch", "core", "nodes"), events()],
        ),
    ]
}

pub(super) fn bindings() -> Vec<BindingRow> {
    use SubjectRow::Account;
    [
        ("system:controller:deployment-controller", "deployment-controller"),
        ("system:controller:replicaset-controller", "replicaset-controller"),
        ("system:controller:replication-controller", "replication-controller"),
        ("system:controller:job-controller", "job-controller"),
        ("system:controller:endpointslice-controller", "endpointslice-controller"),
        ("system:controller:namespace-controller", "namespace-controller"),
        ("system:controller:service-account-controller", "service-account-controller"),
        ("system:controller:root-ca-cert-publisher", "root-ca-cert-publisher"),
        ("system:controller:generic-garbage-collector", "generic-garbage-collector"),
        ("system:controller:pod-garbage-collector", "pod-garbage-collector"),
        ("system:controller:node-controller", "node-controller"),
        ("system:controller:ttl-controller", "ttl-controller"),
    ]
    .map(|(name, account)| bind(name, name, vec![Account(account)]))
    .into()
}

//! One role per controller, bound to its ServiceAccount in kube-system: each may what its work needs.

use super::{BindingRow, RoleRow, SubjectRow, bind, on, role};
use crate::authorization::Rule;

const READ: &str = "get list watch";

fn events() -> Rule {
    on("create patch update", "core events.k8s.io", "events")
}

pub(super) fn roles() -> Vec<RoleRow> {
    let mut all = workloads();
    all.extend(others());
    all
}

const EVERYTHING: &str = "create delete get list patch update watch";

/// Those that make pods.
fn workloads() -> Vec<RoleRow> {
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
            "system:controller:cronjob-controller",
            vec![
                on("get list update watch", "batch", "cronjobs"),
                on(EVERYTHING, "batch", "jobs"),
                on("update", "batch", "cronjobs/status"),
                on("update", "batch", "cronjobs/finalizers"),
                on("delete list", "core", "pods"),
                events(),
            ],
        ),
        role(
            "system:controller:ttl-after-finished-controller",
            vec![on("delete get list watch", "batch", "jobs"), events()],
        ),
        role(
            "system:controller:statefulset-controller",
            vec![
                on("list watch", "core", "pods"),
                on(READ, "apps", "statefulsets"),
                on("update", "apps", "statefulsets/status"),
                on("update", "apps", "statefulsets/finalizers"),
                on("create delete get patch update", "core", "pods"),
                on(EVERYTHING, "apps", "controllerrevisions"),
                on("create delete get list patch update watch", "core", "persistentvolumeclaims"),
                events(),
            ],
        ),
        role(
            "system:controller:daemon-set-controller",
            vec![
                on(READ, "apps", "daemonsets"),
                on("update", "apps", "daemonsets/status"),
                on("update", "apps", "daemonsets/finalizers"),
                on("list watch", "core", "nodes"),
                on("create delete list patch watch", "core", "pods"),
                on("create", "core", "pods/binding"),
                on(EVERYTHING, "apps", "controllerrevisions"),
                events(),
            ],
        ),
    ]
}

/// The others.
fn others() -> Vec<RoleRow> {
    vec![
        role(
            "system:controller:disruption-controller",
            vec![
                on(READ, "apps extensions", "deployments replicasets"),
                on(READ, "core", "replicationcontrollers"),
                on(READ, "policy", "poddisruptionbudgets"),
                on(READ, "apps", "statefulsets"),
                on("update", "policy", "poddisruptionbudgets/status"),
                on("patch", "core", "pods/status"),
                on("get", "*", "*/scale"),
                events(),
            ],
        ),
        role(
            "system:controller:resourcequota-controller",
            vec![on("list watch", "*", "*"), on("update", "core", "resourcequotas/status"), events()],
        ),
        role(
            "system:controller:endpoint-controller",
            vec![
                on(READ, "core", "pods services"),
                on("create delete get list update watch", "core", "endpoints"),
                on("create", "core", "endpoints/restricted"),
                events(),
            ],
        ),
        role(
            "system:controller:endpointslicemirroring-controller",
            vec![
                on(READ, "core", "endpoints services"),
                on("update", "core", "services/finalizers"),
                on("update", "core", "endpoints/finalizers"),
                on("create delete get list update watch", "discovery.k8s.io", "endpointslices"),
                on("create", "discovery.k8s.io", "endpointslices/restricted"),
                events(),
            ],
        ),
        role(
            "system:controller:clusterrole-aggregation-controller",
            vec![on("escalate get list patch update watch", "rbac.authorization.k8s.io", "clusterroles")],
        ),
        role(
            "system:controller:pvc-protection-controller",
            vec![
                on("get list update watch", "core", "persistentvolumeclaims"),
                on(READ, "core", "pods"),
                events(),
            ],
        ),
        role(
            "system:controller:ephemeral-volume-controller",
            vec![
                on(READ, "core", "pods"),
                on("update", "core", "pods/finalizers"),
                on("create get list watch", "core", "persistentvolumeclaims"),
                events(),
            ],
        ),
        role(
            "system:controller:pv-protection-controller",
            vec![on("get list update watch", "core", "persistentvolumes"), events()],
        ),
        role(
            "system:controller:persistent-volume-binder",
            vec![
                on("create delete get list update watch", "core", "persistentvolumes"),
                on("update", "core", "persistentvolumes/status"),
                on("get list update watch", "core", "persistentvolumeclaims"),
                on("update", "core", "persistentvolumeclaims/status"),
                on("create delete get list watch", "core", "pods"),
                on(READ, "storage.k8s.io", "storageclasses"),
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
            "system:controller:service-cidrs-controller",
            vec![
                on("get list patch update watch", "networking.k8s.io", "servicecidrs"),
                on("patch update", "networking.k8s.io", "servicecidrs/finalizers servicecidrs/status"),
                on(READ, "networking.k8s.io", "ipaddresses"),
                events(),
            ],
        ),
        role(
            "system:controller:ttl-controller",
            vec![on("list patch update watch", "core", "nodes"), events()],
        ),
        role(
            "system:controller:validatingadmissionpolicy-status-controller",
            vec![
                on(READ, "admissionregistration.k8s.io", "validatingadmissionpolicies"),
                on("get patch update", "admissionregistration.k8s.io", "validatingadmissionpolicies/status"),
                events(),
            ],
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
        ("system:controller:cronjob-controller", "cronjob-controller"),
        ("system:controller:ttl-after-finished-controller", "ttl-after-finished-controller"),
        ("system:controller:statefulset-controller", "statefulset-controller"),
        ("system:controller:daemon-set-controller", "daemon-set-controller"),
        ("system:controller:disruption-controller", "disruption-controller"),
        ("system:controller:resourcequota-controller", "resourcequota-controller"),
        ("system:controller:endpoint-controller", "endpoint-controller"),
        ("system:controller:endpointslicemirroring-controller", "endpointslicemirroring-controller"),
        ("system:controller:clusterrole-aggregation-controller", "clusterrole-aggregation-controller"),
        ("system:controller:pvc-protection-controller", "pvc-protection-controller"),
        ("system:controller:ephemeral-volume-controller", "ephemeral-volume-controller"),
        ("system:controller:pv-protection-controller", "pv-protection-controller"),
        ("system:controller:persistent-volume-binder", "persistent-volume-binder"),
        ("system:controller:endpointslice-controller", "endpointslice-controller"),
        ("system:controller:namespace-controller", "namespace-controller"),
        ("system:controller:service-account-controller", "service-account-controller"),
        ("system:controller:root-ca-cert-publisher", "root-ca-cert-publisher"),
        ("system:controller:generic-garbage-collector", "generic-garbage-collector"),
        ("system:controller:pod-garbage-collector", "pod-garbage-collector"),
        ("system:controller:node-controller", "node-controller"),
        ("system:controller:service-cidrs-controller", "service-cidrs-controller"),
        ("system:controller:ttl-controller", "ttl-controller"),
        (
            "system:controller:validatingadmissionpolicy-status-controller",
            "validatingadmissionpolicy-status-controller",
        ),
    ]
    .map(|(name, account)| bind(name, name, vec![Account(account)]))
    .into()
}

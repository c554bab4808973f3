//! Roles for the parts of a node that upstream does not have: the network agent, and DNS that publishes itself.

use super::{BindingRow, RoleRow, SubjectRow, bind, on, on_named, role};

const READ: &str = "get list watch";
const DNS_PUBLISHER: &str = "system:keelson:dns-publisher";

pub(super) fn roles() -> Vec<RoleRow> {
    vec![
        role(
            "system:keelson:agent",
            vec![
                on(READ, "core", "namespaces nodes pods"),
                on(READ, "networking.k8s.io", "networkpolicies"),
                on("patch update", "core", "nodes/status"),
                on("create patch update", "core events.k8s.io", "events"),
            ],
        ),
        // Upstream's servers do this themselves.
        role(
            "system:keelson:ip-address-repair",
            vec![
                on(READ, "core", "services"),
                on("create delete get list watch", "networking.k8s.io", "ipaddresses"),
                on("create patch update", "core events.k8s.io", "events"),
            ],
        ),
        // A slice is owned by its Node, so that it goes with it.
        role("system:keelson:dns", vec![on("get", "core", "nodes")]),
    ]
}

pub(super) fn namespaced_roles() -> Vec<(&'static str, RoleRow)> {
    let publisher = role(
        DNS_PUBLISHER,
        vec![
            on("create", "core", "services"),
            on_named("get update", "core", "services", "kube-dns"),
            on("create get update", "discovery.k8s.io", "endpointslices"),
        ],
    );
    vec![("kube-system", publisher)]
}

pub(super) fn bindings() -> Vec<BindingRow> {
    let dns = || vec![SubjectRow::User("system:kube-dns")];
    vec![
        bind("system:keelson:agent", "system:keelson:agent", vec![SubjectRow::User("system:keelson:agent")]),
        bind("system:keelson:dns", "system:keelson:dns", dns()),
        bind(
            "system:keelson:ip-address-repair",
            "system:keelson:ip-address-repair",
            vec![SubjectRow::Account("ip-address-repair")],
        ),
        BindingRow {
            name: DNS_PUBLISHER,
            namespace: "kube-system",
            role_kind: "Role",
            role: DNS_PUBLISHER,
            subjects: dns(),
        },
    ]
}

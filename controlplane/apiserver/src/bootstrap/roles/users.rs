//! Roles for people: cluster-admin, admin, edit, view, and what everybody may ask.

use super::{BindingRow, RoleRow, SubjectRow, bind, on, on_paths, role};
use crate::authorization::Rule;

const READ: &str = "get list watch";
const WRITE: &str = "create delete deletecollection patch update";

const TO_ADMIN: &str = "rbac.authorization.k8s.io/aggregate-to-admin";
const TO_EDIT: &str = "rbac.authorization.k8s.io/aggregate-to-edit";
const TO_VIEW: &str = "rbac.authorization.k8s.io/aggregate-to-view";

const APPS: &str = "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status";

pub(super) fn roles() -> Vec<RoleRow> {
    vec![
        role("cluster-admin", vec![on("*", "*", "*"), on_paths("*", "*")]),
        role(
            "system:discovery",
            vec![on_paths(
                "get",
                "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/",
            )],
        ),
        role(
            "system:public-info-viewer",
            vec![on_paths("get", "/healthz /livez /readyz /version /version/")],
        ),
        role(
            "system:service-account-issuer-discovery",
            vec![on_paths(
                "get",
                "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
            )],
        ),
        role(
            "system:basic-user",
            vec![
                on("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
                on("create", "authentication.k8s.io", "selfsubjectreviews"),
            ],
        ),
        role(
            "system:monitoring",
            vec![on_paths(
                "get",
                "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*",
            )],
        ),
        RoleRow { aggregates: Some(TO_ADMIN), ..role("admin", vec![]) },
        RoleRow { aggregates: Some(TO_EDIT), labels: &[TO_ADMIN], ..role("edit", edit()) },
        RoleRow { aggregates: Some(TO_VIEW), labels: &[TO_EDIT], ..role("view", view()) },
        RoleRow { labels: &[TO_ADMIN], ..role("system:aggregate-to-admin", admin()) },
        RoleRow { labels: &[TO_EDIT], ..role("system:aggregate-to-edit", edit()) },
        RoleRow { labels: &[TO_VIEW], ..role("system:aggregate-to-view", view()) },
    ]
}

/// What an administrator of a namespace may beyond editing it.
fn admin() -> Vec<Rule> {
    vec![
        on("create", "authorization.k8s.io", "localsubjectaccessreviews"),
        on(
            "create delete deletecollection get list patch update watch",
            "rbac.authorization.k8s.io",
            "rolebindings roles",
        ),
    ]
}

fn edit() -> Vec<Rule> {
    vec![
        on(READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
        on("impersonate", "core", "serviceaccounts"),
        on(WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
        on("create", "core", "pods/eviction"),
        on(
            WRITE,
            "core",
            "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy",
        ),
        on("create", "core", "serviceaccounts/token"),
        on(
            WRITE,
            "apps",
            "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale",
        ),
        on(WRITE, "autoscaling", "horizontalpodautoscalers"),
        on(WRITE, "batch", "cronjobs jobs"),
        on(WRITE, "policy", "poddisruptionbudgets"),
        on(WRITE, "networking.k8s.io", "ingresses networkpolicies"),
        on("create delete deletecollection get list patch update watch", "coordination.k8s.io", "leases"),
    ]
}

fn view() -> Vec<Rule> {
    vec![
        on(
            READ,
            "core",
            "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status",
        ),
        on(
            READ,
            "core",
            "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status",
        ),
        on(READ, "core", "namespaces"),
        on(READ, "discovery.k8s.io", "endpointslices"),
        on(READ, "apps", APPS),
        on(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
        on(READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
        on(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
        on(READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
    ]
}

pub(super) fn bindings() -> Vec<BindingRow> {
    use SubjectRow::Group;
    let authenticated = || vec![Group("system:authenticated")];
    vec![
        bind("cluster-admin", "cluster-admin", vec![Group("system:masters")]),
        bind("system:discovery", "system:discovery", authenticated()),
        bind("system:basic-user", "system:basic-user", authenticated()),
        bind(
            "system:public-info-viewer",
            "system:public-info-viewer",
            vec![Group("system:authenticated"), Group("system:unauthenticated")],
        ),
        bind("system:monitoring", "system:monitoring", vec![Group("system:monitoring")]),
        bind(
            "system:service-account-issuer-discovery",
            "system:service-account-issuer-discovery",
            vec![Group("system:serviceaccounts")],
        ),
    ]
}

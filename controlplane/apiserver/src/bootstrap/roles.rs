//! The rows of upstream's bootstrap policy: who may do what before anybody was asked.
//!
//! Reference: Kubernetes 1.36, "Using RBAC Authorization", default roles and role bindings.

mod controllers;
mod join;
mod keelson;
mod system;
mod users;

use serde_json::{Value, json};

use crate::authorization::Rule;

/// A role.
pub(super) struct RoleRow {
    pub(super) name: &'static str,
    /// Labels that say into which roles its rules are aggregated.
    pub(super) labels: &'static [&'static str],
    /// The label whose roles this one is the union of.
    pub(super) aggregates: Option<&'static str>,
    pub(super) rules: Vec<Rule>,
}

/// Who is bound.
pub(super) enum SubjectRow {
    User(&'static str),
    Group(&'static str),
    /// Of kube-system.
    Account(&'static str),
}

/// A binding; cluster-wide without a namespace.
pub(super) struct BindingRow {
    pub(super) name: &'static str,
    pub(super) namespace: &'static str,
    pub(super) role_kind: &'static str,
    pub(super) role: &'static str,
    pub(super) subjects: Vec<SubjectRow>,
}

impl SubjectRow {
    pub(super) fn to_value(&self) -> Value {
        match self {
            SubjectRow::User(name) => {
                json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name})
            }
            SubjectRow::Group(name) => {
                json!({"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": name})
            }
            SubjectRow::Account(name) => {
                json!({"kind": "ServiceAccount", "name": name, "namespace": "kube-system"})
            }
        }
    }
}

/// Every ClusterRole.
pub(super) fn cluster_roles() -> Vec<RoleRow> {
    let mut roles = users::roles();
    roles.extend(system::roles());
    roles.extend(controllers::roles());
    roles.extend(keelson::roles());
    roles.extend(join::roles());
    roles
}

/// What a node may; the node authorizer narrows it.
pub fn node_rules() -> Vec<Rule> {
    system::node()
}

/// Every Role with its namespace.
pub(super) fn namespaced_roles() -> Vec<(&'static str, RoleRow)> {
    let mut roles = system::namespaced_roles();
    roles.extend(keelson::namespaced_roles());
    roles.extend(join::namespaced_roles());
    roles
}

/// Every binding.
pub(super) fn bindings() -> Vec<BindingRow> {
    let mut bindings = users::bindings();
    bindings.extend(system::bindings());
    bindings.extend(controllers::bindings());
    bindings.extend(keelson::bindings());
    bindings.extend(join::bindings());
    bindings
}

/// The union of the rules of all roles with a label.
pub(super) fn aggregated(label: &str) -> Vec<Rule> {
    cluster_roles()
        .into_iter()
        .filter(|role| role.labels.contains(&label))
        .flat_map(|role| role.rules)
        .collect()
}

/// A role with rules of its own.
fn role(name: &'static str, rules: Vec<Rule>) -> RoleRow {
    RoleRow { name, labels: &[], aggregates: None, rules }
}

/// A rule about resources: verbs, groups, resources, each with spaces between; `""` in `groups` is written `core`.
fn on(verbs: &str, groups: &str, resources: &str) -> Rule {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let api_groups =
        groups.split_whitespace().map(|group| if group == "core" { "" } else { group }.to_owned()).collect();
    Rule { verbs: words(verbs), api_groups, resources: words(resources), ..Rule::default() }
}

/// The same, about objects of given names only.
fn on_named(verbs: &str, groups: &str, resources: &str, names: &str) -> Rule {
    Rule {
        resource_names: names.split_whitespace().map(str::to_owned).collect(),
        ..on(verbs, groups, resources)
    }
}

/// A rule about paths.
fn on_paths(verbs: &str, paths: &str) -> Rule {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    Rule { verbs: words(verbs), non_resource_urls: words(paths), ..Rule::default() }
}

/// A cluster-wide binding.
fn bind(name: &'static str, role: &'static str, subjects: Vec<SubjectRow>) -> BindingRow {
    BindingRow { name, namespace: "", role_kind: "ClusterRole", role, subjects }
}

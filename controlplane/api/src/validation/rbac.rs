//! Roles and bindings.
//!
//! Whether somebody may grant what they grant is authorization's question.

use serde_json::Value;

use super::fields::{Fields, items};
use super::report::Report;
use crate::field::Path;
use crate::names;

const GROUP: &str = "rbac.authorization.k8s.io";

/// A Role (`namespaced`) or a ClusterRole.
pub(super) fn role(report: &mut Report, role: &Value, namespaced: bool) {
    for (path, rule) in items(role, "rules", &Path::default()) {
        self::rule(report, rule, namespaced, &path);
    }
    let selectors = Path::new("aggregationRule").child("clusterRoleSelectors");
    let aggregation = role.part("aggregationRule").filter(|_| !namespaced);
    if let Some(aggregation) = aggregation {
        if aggregation.list("clusterRoleSelectors").is_empty() {
            report.required(
                &selectors,
                "at least one clusterRoleSelector required if aggregationRule is non-nil",
            );
        }
        for (index, selector) in aggregation.list("clusterRoleSelectors").iter().enumerate() {
            super::labels::selector(report, selector, &selectors.index(index));
        }
    }
}

fn rule(report: &mut Report, rule: &Value, namespaced: bool, path: &Path) {
    let has = |name: &str| !rule.list(name).is_empty();
    if !has("verbs") {
        report.required(&path.child("verbs"), "verbs must contain at least one value");
    }
    if has("nonResourceURLs") {
        let (path, urls) = (path.child("nonResourceURLs"), &rule["nonResourceURLs"]);
        if namespaced {
            report.invalid(&path, urls.clone(), "namespaced rules cannot apply to non-resource URLs");
        }
        if has("apiGroups") || has("resources") || has("resourceNames") {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            report.invalid(&path, urls.clone(), why);
        }
        return;
    }
    if !has("apiGroups") {
        report.required(&path.child("apiGroups"), "resource rules must supply at least one api group");
    }
    if !has("resources") {
        report.required(&path.child("resources"), "resource rules must supply at least one resource");
    }
}

/// A RoleBinding (`namespaced`) or a ClusterRoleBinding.
pub(super) fn binding(report: &mut Report, binding: &Value, namespaced: bool) {
    let (reference, path) = (&binding["roleRef"], Path::new("roleRef"));
    if reference.text("apiGroup") != GROUP {
        report.not_supported(&path.child("apiGroup"), reference.text("apiGroup"), &[GROUP]);
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&reference.text("kind")) {
        report.not_supported(&path.child("kind"), reference.text("kind"), kinds);
    }
    match reference.text("name") {
        "" => report.required(&path.child("name"), ""),
        name => report.complaints(&path.child("name"), name, names::path_segment(name)),
    }
    for (path, subject) in items(binding, "subjects", &Path::default()) {
        self::subject(report, subject, namespaced, &path);
    }
}

/// What an update of a binding may not change.
pub(super) fn binding_update(report: &mut Report, new: &Value, old: &Value) {
    if new["roleRef"] != old["roleRef"] {
        report.invalid(&Path::new("roleRef"), new["roleRef"].clone(), "cannot change roleRef");
    }
}

fn subject(report: &mut Report, subject: &Value, namespaced: bool, path: &Path) {
    let (name, group) = (subject.text("name"), subject.text("apiGroup"));
    let (name_path, group_path) = (path.child("name"), path.child("apiGroup"));
    if name.is_empty() {
        report.required(&name_path, "");
    }
    match subject.text("kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                report.dns_subdomain(&name_path, name);
            }
            if !group.is_empty() {
                report.not_supported(&group_path, group, &[""]);
            }
            if !namespaced && subject.text("namespace").is_empty() {
                report.required(&path.child("namespace"), "");
            }
        }
        kind @ ("User" | "Group") => {
            if name.is_empty() {
                let why = format!("{} name cannot be empty", kind.to_lowercase());
                report.invalid(&name_path, "", why);
            }
            if group != GROUP {
                report.not_supported(&group_path, group, &[GROUP]);
            }
        }
        other => {
            report.not_supported(&path.child("kind"), other, &["ServiceAccount", "User", "Group"]);
        }
    }
}

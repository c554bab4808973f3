//! Which requests a webhook or a policy is about: operations, groups, versions, resources.

use std::collections::HashSet;

use serde_json::Value;

use super::super::fields::Fields;
use super::super::report::Report;
use super::one_of;
use crate::field::Path;
use crate::names;

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];

/// A rule of a webhook.
pub(super) fn with_operations(report: &mut Report, rule: &Value, path: &Path) {
    listed(report, rule, "operations", "operations", path);
    for (index, operation) in rule.texts("operations").enumerate() {
        if !OPERATIONS.contains(&operation) {
            report.not_supported(&path.child("operations").index(index), operation, OPERATIONS);
        }
    }
    listed(report, rule, "apiGroups", "API groups", path);
    listed(report, rule, "apiVersions", "API versions", path);
    for (index, version) in rule.texts("apiVersions").enumerate() {
        if version.is_empty() {
            report.required(&path.child("apiVersions").index(index), "");
        }
    }
    resources(report, rule, &path.child("resources"));
    one_of(report, rule, "scope", SCOPES, path);
}

/// A rule of a policy, which may also name objects.
pub(super) fn with_names(report: &mut Report, rule: &Value, path: &Path) {
    let mut seen = HashSet::new();
    for (index, name) in rule.texts("resourceNames").enumerate() {
        let path = path.child("resourceNames").index(index);
        report.complaints(&path, name, names::path_segment(name));
        if !seen.insert(name) {
            report.duplicate(&path, name);
        }
    }
    with_operations(report, rule, path);
}

/// A list with something in it, where a star stands alone.
fn listed(report: &mut Report, rule: &Value, name: &str, what: &str, path: &Path) {
    let count = rule.list(name).len();
    if count == 0 {
        report.required(&path.child(name), "");
    }
    if count > 1 && rule.texts(name).any(|text| text == "*") {
        let why = format!("if '*' is present, must not specify other {what}");
        report.invalid(&path.child(name), rule[name].clone(), why);
    }
}

/// `pods`, `pods/status`, `pods/*`, `*/scale`, `*`, `*/*`: none of them in another that came before.
fn resources(report: &mut Report, rule: &Value, path: &Path) {
    let all = || rule["resources"].clone();
    if rule.list("resources").is_empty() {
        report.required(path, "");
    }
    let (mut whole, mut everywhere) = (HashSet::new(), HashSet::new());
    let (mut star, mut stars, mut plain) = (false, false, false);
    for (index, text) in rule.texts("resources").enumerate() {
        let path = path.index(index);
        if text.is_empty() {
            report.required(&path, "");
            continue;
        }
        star |= text == "*";
        stars |= text == "*/*";
        let Some((resource, sub)) = text.split_once('/') else {
            // Only the last one counts: upstream's way.
            plain = text != "*";
            continue;
        };
        if whole.contains(resource) {
            report.invalid(&path, text, format!("if '{resource}/*' is present, must not specify {text}"));
        }
        if everywhere.contains(sub) {
            report.invalid(&path, text, format!("if '*/{sub}' is present, must not specify {text}"));
        }
        if sub == "*" {
            whole.insert(resource);
        }
        if resource == "*" {
            everywhere.insert(sub);
        }
    }
    if stars && rule.list("resources").len() > 1 {
        report.invalid(path, all(), "if '*/*' is present, must not specify other resources");
    }
    if star && plain {
        let why = "if '*' is present, must not specify other resources without subresources";
        report.invalid(path, all(), why);
    }
}

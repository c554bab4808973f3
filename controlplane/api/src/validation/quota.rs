//! ResourceQuotas: names and amounts of what is limited, and the scopes that go with them.

use std::collections::HashSet;

use serde_json::Value;

use super::fields::{Fields, parse_quantity};
use super::pod;
use super::report::{IMMUTABLE, Report};
use crate::field::Path;

const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
/// Scopes that select by being there.
const BARE: &[&str] =
    &["BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "Terminating"];
const CONTRARY: &[(&str, &str)] = &[("BestEffort", "NotBestEffort"), ("NotTerminating", "Terminating")];
/// What a quota may limit by a bare name.
const LIMITED: &[&str] = &[
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];
const OF_PODS: &[&str] =
    &["cpu", "limits.cpu", "limits.memory", "memory", "pods", "requests.cpu", "requests.memory"];
const OF_CLAIMS: &[&str] = &["persistentvolumeclaims", "requests.storage"];

pub(super) fn quota(report: &mut Report, quota: &Value) {
    let (spec, path) = (&quota["spec"], Path::new("spec"));
    amounts(report, spec, "hard", &path);
    scopes(report, spec, &path.child("scopes"));
    selector(report, spec, &path.child("scopeSelector").child("matchExpressions"));
}

/// What an update may not change: the scopes, in whatever order.
pub(super) fn update(report: &mut Report, new: &Value, old: &Value) {
    let set =
        |quota: &Value| -> HashSet<String> { quota["spec"].texts("scopes").map(str::to_owned).collect() };
    if set(new) != set(old) {
        report.invalid(&Path::new("spec").child("scopes"), new["spec"]["scopes"].clone(), IMMUTABLE);
    }
}

pub(super) fn status(report: &mut Report, quota: &Value) {
    for part in ["hard", "used"] {
        amounts(report, &quota["status"], part, &Path::new("status"));
    }
}

fn amounts(report: &mut Report, of: &Value, part: &str, path: &Path) {
    let path = path.child(part);
    for (name, amount) in of.entries(part) {
        let path = path.key(name);
        pod::resource_name(report, name, &path);
        if !name.contains('/') && !is_limited(name) {
            report.invalid(&path, name, "must be a standard resource for quota");
        }
        if let Some(amount) = parse_quantity(amount) {
            pod::resource_quantity(report, name, &amount, &path);
        }
    }
}

/// Whether quotas know a bare name.
fn is_limited(name: &str) -> bool {
    LIMITED.contains(&name) || name.strip_prefix("requests.").unwrap_or(name).starts_with("hugepages-")
}

/// Whether every limited resource is one that the objects of a scope have.
fn covers(scope: &str, spec: &Value) -> bool {
    let known = match scope {
        "BestEffort" => &["pods"],
        "VolumeAttributesClass" => OF_CLAIMS,
        scope if SCOPES.contains(&scope) => OF_PODS,
        _ => return true,
    };
    spec.entries("hard").all(|(name, _)| !is_limited(name) || known.contains(&name))
}

fn scopes(report: &mut Report, spec: &Value, path: &Path) {
    let seen: HashSet<&str> = spec.texts("scopes").collect();
    if seen.iter().any(|scope| !SCOPES.contains(scope)) {
        report.invalid(path, spec["scopes"].clone(), "unsupported scope");
    }
    if seen.iter().any(|scope| !covers(scope, spec)) {
        report.invalid(path, spec["scopes"].clone(), "unsupported scope applied to resource");
    }
    conflicts(report, &seen, spec, path);
}

/// `scopeSelector`: complaints about all its expressions are made at the same places.
fn selector(report: &mut Report, spec: &Value, path: &Path) {
    const BARELY: &str = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
    let mut seen = HashSet::new();
    for term in spec["scopeSelector"].list("matchExpressions") {
        let (scope, operator) = (term.text("scopeName"), term.text("operator"));
        if !SCOPES.contains(&scope) {
            report.invalid(&path.child("scopeName"), scope, "unsupported scope");
        }
        if seen.insert(scope) && !covers(scope, spec) {
            let shown = spec["scopeSelector"].clone();
            report.invalid(path, shown, "unsupported scope applied to resource");
        }
        if BARE.contains(&scope) && operator != "Exists" {
            report.invalid(&path.child("operator"), operator, BARELY);
        }
        let values = path.child("values");
        match (operator, term.list("values").is_empty()) {
            ("In" | "NotIn", true) => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                report.required(&values, why);
            }
            ("Exists" | "DoesNotExist", false) => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                report.invalid(&values, term["values"].clone(), why);
            }
            ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => {}
            _ => report.invalid(&path.child("operator"), operator, "not a valid selector operator"),
        }
    }
    conflicts(report, &seen, spec, path);
}

fn conflicts(report: &mut Report, seen: &HashSet<&str>, spec: &Value, path: &Path) {
    if CONTRARY.iter().any(|(one, other)| seen.contains(one) && seen.contains(other)) {
        report.invalid(path, spec["scopes"].clone(), "conflicting scopes");
    }
}

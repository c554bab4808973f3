//! What is wrong with the configuration of admission webhooks; what policies have in common with them.
//!
//! Reference: `pkg/apis/admissionregistration/validation` of Kubernetes 1.36, by behaviour.

mod policy;
mod rule;

pub(super) use policy::{binding, mutating_binding, mutating_policy, policy, policy_status};

use std::collections::HashSet;

use serde_json::Value;

use super::fields::{Fields, items};
use super::labels;
use super::report::Report;
use crate::cel::{Program, Type};
use crate::field::{FieldError, Path};
use crate::names;

const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];
const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
const REINVOCATIONS: &[&str] = &["IfNeeded", "Never"];
const CONDITIONS_MAX: usize = 64;
/// What a webhook may be asked in.
const REVIEWS: &[&str] = &["v1", "v1beta1"];
/// Names that the conditions of a webhook may use.
const HOOK_NAMES: &[&str] = &["object", "oldObject", "request", "authorizer"];

/// A mutating or validating configuration.
pub(super) fn webhooks(report: &mut Report, configuration: &Value) {
    let mut seen = HashSet::new();
    for (path, hook) in items(configuration, "webhooks", &Path::default()) {
        webhook(report, hook, &path);
        review_versions(report, hook, &path.child("admissionReviewVersions"));
        let name = hook.text("name");
        if !name.is_empty() && !seen.insert(name) {
            report.duplicate(&path.child("name"), name);
        }
    }
}

fn webhook(report: &mut Report, hook: &Value, path: &Path) {
    full_name(report, hook.text("name"), &path.child("name"));
    for (path, rule) in items(hook, "rules", path) {
        rule::with_operations(report, rule, &path);
    }
    let known = [("failurePolicy", FAILURE_POLICIES), ("matchPolicy", MATCH_POLICIES)];
    for (name, known) in known {
        one_of(report, hook, name, known, path);
    }
    let effects = path.child("sideEffects");
    match hook.part("sideEffects").and_then(Value::as_str) {
        None => report.required(&effects, "must specify one of None, NoneOnDryRun"),
        Some("None" | "NoneOnDryRun") => {}
        Some(other) => report.not_supported(&effects, other, &["None", "NoneOnDryRun"]),
    }
    if let Some(seconds) = hook.number("timeoutSeconds").filter(|seconds| !(1..=30).contains(seconds)) {
        let why = "the timeout value must be between 1 and 30 seconds";
        report.invalid(&path.child("timeoutSeconds"), seconds, why);
    }
    for name in ["namespaceSelector", "objectSelector"] {
        labels::selector(report, &hook[name], &path.child(name));
    }
    one_of(report, hook, "reinvocationPolicy", REINVOCATIONS, path);
    let mut errors: Vec<FieldError> = Vec::new();
    crate::definition::client_config(&hook["clientConfig"], &path.child("clientConfig"), &mut errors);
    errors.into_iter().for_each(|error| report.push(error));
    conditions(report, hook, HOOK_NAMES, path);
}

/// A name with a domain of its own.
fn full_name(report: &mut Report, name: &str, path: &Path) {
    let complaints = names::dns_subdomain(name);
    if name.is_empty() {
        report.required(path, "");
    } else if !complaints.is_empty() {
        report.invalid(path, name, complaints.join(","));
    } else if name.split('.').count() < 3 {
        report.invalid(path, name, "should be a domain with at least three segments separated by dots");
    }
}

/// A field that may be missing, but is one of these where it is there.
fn one_of(report: &mut Report, of: &Value, name: &str, known: &[&str], path: &Path) {
    if let Some(text) = of.part(name).and_then(Value::as_str)
        && !known.contains(&text)
    {
        report.not_supported(&path.child(name), text, known);
    }
}

fn review_versions(report: &mut Report, hook: &Value, path: &Path) {
    if hook.list("admissionReviewVersions").is_empty() {
        return report.required(path, "must specify one of v1, v1beta1");
    }
    let mut seen = HashSet::new();
    for (index, version) in hook.texts("admissionReviewVersions").enumerate() {
        let path = path.index(index);
        if !seen.insert(version) {
            report.invalid(&path, version, "duplicate version");
            continue;
        }
        report.complaints(&path, version, names::dns_1035_label(version));
    }
    if !REVIEWS.iter().any(|known| seen.contains(known)) {
        let shown = hook["admissionReviewVersions"].clone();
        report.invalid(path, shown, "must include at least one of v1, v1beta1");
    }
}

/// `matchConditions` of a webhook or a policy.
fn conditions(report: &mut Report, of: &Value, names: &[&str], path: &Path) {
    let count = of.list("matchConditions").len();
    if count > CONDITIONS_MAX {
        report.too_many(&path.child("matchConditions"), count, CONDITIONS_MAX);
    }
    let mut seen = HashSet::new();
    for (path, condition) in items(of, "matchConditions", path) {
        let text = condition.text("expression").trim();
        let at = path.child("expression");
        match text {
            "" => report.required(&at, ""),
            text => compile(report, text, text, names, &Type::Bool, &at),
        }
        let (name, at) = (condition.text("name"), path.child("name"));
        if name.is_empty() {
            report.required(&at, "");
        } else {
            report.qualified_name(&at, name);
            if !seen.insert(name) {
                report.duplicate(&at, name);
            }
        }
    }
}

/// Complains about an expression that is no program, or one of another type.
fn compile(report: &mut Report, shown: &str, text: &str, names: &[&str], of: &Type<'_>, path: &Path) {
    let names: Vec<(&str, Type<'_>)> = names.iter().map(|name| (*name, Type::Dyn)).collect();
    match Program::compile(text, &names, of) {
        Ok(_) => {}
        Err(error) if error.is_of_type() => report.invalid(path, shown, error.to_string()),
        Err(error) => report.invalid(path, shown, format!("compilation failed: {error}")),
    }
}

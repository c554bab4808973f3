//! What is wrong with the configuration of admission webhooks.
//!
//! Reference: `pkg/apis/admissionregistration/validation` of Kubernetes 1.36, by behaviour.

use serde_json::Value;

use super::fields::{Fields, items};
use super::report::Report;
use crate::cel::{Program, Type};
use crate::field::{FieldError, Path};

/// A mutating or validating configuration.
pub(super) fn webhooks(report: &mut Report, configuration: &Value) {
    let mut seen: Vec<&str> = Vec::new();
    for (path, hook) in items(configuration, "webhooks", &Path::default()) {
        let name = hook.text("name");
        if name.matches('.').count() < 2 {
            let why = "should be a domain with at least three segments separated by dots";
            report.invalid(&path.child("name"), name, why);
        }
        report.dns_subdomain(&path.child("name"), name);
        if seen.contains(&name) {
            report.duplicate(&path.child("name"), name);
        }
        seen.push(name);
        one(report, hook, &path);
    }
}

fn one(report: &mut Report, hook: &Value, path: &Path) {
    let versions: Vec<&str> = hook.texts("admissionReviewVersions").collect();
    let at = path.child("admissionReviewVersions");
    if versions.is_empty() {
        report.required(&at, "must specify one of v1, v1beta1");
    } else if !versions.contains(&"v1") && !versions.contains(&"v1beta1") {
        report.invalid(
            &at,
            hook["admissionReviewVersions"].clone(),
            "must include at least one of v1, v1beta1",
        );
    }
    match hook.text("sideEffects") {
        "" => report.required(&path.child("sideEffects"), "must specify one of None, NoneOnDryRun"),
        "None" | "NoneOnDryRun" => {}
        other => report.not_supported(&path.child("sideEffects"), other, &["None", "NoneOnDryRun"]),
    }
    report.one_of(&path.child("failurePolicy"), hook.text("failurePolicy"), &["Fail", "Ignore"]);
    report.one_of(&path.child("matchPolicy"), hook.text("matchPolicy"), &["Equivalent", "Exact"]);
    let seconds = hook.number("timeoutSeconds").unwrap_or(10);
    if !(1..=30).contains(&seconds) {
        let why = "the timeout value must be between 1 and 30 seconds";
        report.invalid(&path.child("timeoutSeconds"), seconds, why);
    }
    for name in ["namespaceSelector", "objectSelector"] {
        if let Err(error) = crate::selector::LabelSelector::from_object(hook.get(name)) {
            report.invalid(&path.child(name), hook[name].clone(), error.to_string());
        }
    }
    let mut errors: Vec<FieldError> = Vec::new();
    crate::definition::client_config(&hook["clientConfig"], &path.child("clientConfig"), &mut errors);
    errors.into_iter().for_each(|error| report.push(error));
    conditions(report, hook, path);
    for (path, rule) in items(hook, "rules", path) {
        for name in ["operations", "apiGroups", "apiVersions", "resources"] {
            let given: Vec<&str> = rule.texts(name).collect();
            if given.is_empty() {
                report.required(&path.child(name), "");
            }
            if given.len() > 1 && given.contains(&"*") && name != "resources" {
                let why = "if '*' is present, must not specify other ".to_owned()
                    + if name == "operations" { name } else { "values" };
                report.invalid(&path.child(name), rule[name].clone(), why);
            }
        }
        for (at, operation) in rule.texts("operations").enumerate() {
            let known = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
            if !known.contains(&operation) {
                report.not_supported(&path.child("operations").index(at), operation, &known);
            }
        }
    }
}

fn conditions(report: &mut Report, hook: &Value, path: &Path) {
    const MOST: usize = 64;
    let names = ["object", "oldObject", "request", "authorizer"].map(|name| (name, Type::Dyn));
    let count = hook.list("matchConditions").len();
    if count > MOST {
        report.too_many(&path.child("matchConditions"), count, MOST);
    }
    let mut seen: Vec<&str> = Vec::new();
    for (path, condition) in items(hook, "matchConditions", path) {
        let name = condition.text("name");
        if name.is_empty() {
            report.required(&path.child("name"), "");
        } else {
            report.qualified_name(&path.child("name"), name);
        }
        if seen.contains(&name) {
            report.duplicate(&path.child("name"), name);
        }
        seen.push(name);
        let expression = condition.text("expression");
        if expression.trim().is_empty() {
            report.required(&path.child("expression"), "");
        } else if let Err(error) = Program::compile(expression, &names, &Type::Bool) {
            let why = format!("compilation failed: {error}");
            report.invalid(&path.child("expression"), expression, why);
        }
    }
}

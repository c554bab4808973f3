//! What is wrong with the configuration of admission webhooks, and with policies.
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

/// Names that the expressions of a policy may use.
const POLICY_NAMES: [&str; 7] =
    ["object", "oldObject", "request", "params", "namespaceObject", "variables", "authorizer"];

/// A validating policy.
pub(super) fn policy(report: &mut Report, policy: &Value) {
    let (spec, path) = (&policy["spec"], Path::new("spec"));
    if spec.list("validations").is_empty() && spec.list("auditAnnotations").is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        report.required(&path.child("validations"), why);
    }
    if spec["matchConstraints"].list("resourceRules").is_empty() {
        let at = path.child("matchConstraints");
        if spec["matchConstraints"].is_object() {
            report.required(&at.child("resourceRules"), "");
        } else {
            report.required(&at, "");
        }
    }
    for (path, one) in items(spec, "auditAnnotations", &path) {
        if one.text("key").is_empty() {
            report.required(&path.child("key"), "");
        } else {
            report.qualified_name(&path.child("key"), one.text("key"));
        }
        expression(report, one, "valueExpression", &Type::Dyn, &path);
    }
    common(report, spec, &path);
    for (path, one) in items(spec, "validations", &path) {
        expression(report, one, "expression", &Type::Bool, &path);
        if !one.text("messageExpression").is_empty() {
            expression(report, one, "messageExpression", &Type::Text, &path);
        }
        let known = ["Unauthorized", "Forbidden", "Invalid", "RequestEntityTooLarge"];
        let reason = one.text("reason");
        if !reason.is_empty() && !known.contains(&reason) {
            report.not_supported(&path.child("reason"), reason, &known);
        }
    }
}

/// A mutating policy.
pub(super) fn mutating_policy(report: &mut Report, policy: &Value) {
    let (spec, path) = (&policy["spec"], Path::new("spec"));
    if spec.list("mutations").is_empty() {
        report.required(&path.child("mutations"), "mutations must contain at least one item");
    }
    if spec["matchConstraints"].list("resourceRules").is_empty() {
        report.required(&path.child("matchConstraints").child("resourceRules"), "");
    }
    report.one_of(&path.child("reinvocationPolicy"), spec.text("reinvocationPolicy"), &["IfNeeded", "Never"]);
    common(report, spec, &path);
    for (path, one) in items(spec, "mutations", &path) {
        let kind = one.text("patchType");
        report.one_of(&path.child("patchType"), kind, &["ApplyConfiguration", "JSONPatch"]);
        let name = if kind == "JSONPatch" { "jsonPatch" } else { "applyConfiguration" };
        if one[name].is_object() {
            expression(report, &one[name], "expression", &Type::Dyn, &path.child(name));
        } else if !kind.is_empty() {
            let why = format!("must be specified when patchType is {kind}");
            report.required(&path.child(name), &why);
        }
    }
}

/// What policies of both kinds have.
fn common(report: &mut Report, spec: &Value, path: &Path) {
    report.one_of(&path.child("failurePolicy"), spec.text("failurePolicy"), &["Fail", "Ignore"]);
    for (path, one) in items(spec, "variables", path) {
        if one.text("name").is_empty() {
            report.required(&path.child("name"), "name is not specified");
        }
        expression(report, one, "expression", &Type::Dyn, &path);
    }
    for (path, one) in items(spec, "matchConditions", path) {
        expression(report, one, "expression", &Type::Bool, &path);
    }
}

/// What binds a validating policy.
pub(super) fn binding(report: &mut Report, binding: &Value) {
    let (spec, path) = (&binding["spec"], Path::new("spec"));
    if spec.text("policyName").is_empty() {
        report.required(&path.child("policyName"), "");
    }
    let actions: Vec<&str> = spec.texts("validationActions").collect();
    let at = path.child("validationActions");
    if actions.is_empty() {
        report.required(&at, "at least one validation action is required");
    }
    for (index, action) in actions.iter().enumerate() {
        report.one_of(&at.index(index), action, &["Audit", "Deny", "Warn"]);
    }
    if actions.contains(&"Deny") && actions.contains(&"Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        report.invalid(&at, spec["validationActions"].clone(), why);
    }
}

fn expression(report: &mut Report, one: &Value, name: &str, of: &Type<'_>, path: &Path) {
    let text = one.text(name);
    if text.trim().is_empty() {
        return report.required(&path.child(name), &format!("{name} is not specified"));
    }
    let names = POLICY_NAMES.map(|name| (name, Type::Dyn));
    if let Err(error) = Program::compile(text, &names, of) {
        report.invalid(&path.child(name), text, format!("compilation failed: {error}"));
    }
}

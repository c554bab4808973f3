//! Validating and mutating admission policies, and what binds them.

use std::collections::HashSet;

use serde_json::Value;

use super::super::conditions as status_conditions;
use super::super::fields::{Fields, items};
use super::super::labels;
use super::super::report::Report;
use super::{FAILURE_POLICIES, MATCH_POLICIES, REINVOCATIONS, compile, conditions, rule};
use crate::cel::{Type, is_reserved};
use crate::field::Path;
use crate::names;

const ANNOTATIONS_MAX: usize = 20;
const ANNOTATION_BYTES_MAX: usize = 5 * 1024;
/// What can be mutated: nothing that goes.
const MUTABLE: &[&str] = &["*", "CONNECT", "CREATE", "UPDATE"];
const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge"];

/// Names that the expressions of a policy may use.
struct Names {
    params: bool,
    variables: bool,
}

impl Names {
    fn of(spec: &Value) -> Names {
        Names { params: spec.part("paramKind").is_some(), variables: !spec.list("variables").is_empty() }
    }

    /// Those of conditions are without variables, those of messages without the authorizer.
    fn all(&self, variables: bool, authorizer: bool) -> Vec<&'static str> {
        let mut names = vec!["object", "oldObject", "request", "namespaceObject"];
        names.extend(self.params.then_some("params"));
        names.extend((self.variables && variables).then_some("variables"));
        names.extend(authorizer.then_some("authorizer"));
        names
    }
}

/// A validating policy.
pub(in super::super) fn policy(report: &mut Report, policy: &Value) {
    let (spec, path) = (&policy["spec"], Path::new("spec"));
    let names = Names::of(spec);
    common(report, spec, &names, false, &path);
    let (validations, annotations) = (spec.list("validations"), spec.list("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        for name in ["validations", "auditAnnotations"] {
            let why = "validations or auditAnnotations must contain at least one item";
            report.required(&path.child(name), why);
        }
        return;
    }
    for (path, one) in items(spec, "validations", &path) {
        validation(report, one, &names, &path);
    }
    if annotations.len() > ANNOTATIONS_MAX {
        let why = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
        report.invalid(&path.child("auditAnnotations"), spec["auditAnnotations"].clone(), why);
    }
    let mut seen = HashSet::new();
    for (path, one) in items(spec, "auditAnnotations", &path) {
        annotation(report, one, policy["metadata"].text("name"), &names, &path);
        if !seen.insert(one.text("key")) {
            report.duplicate(&path.child("key"), one.text("key"));
        }
    }
}

/// A mutating policy.
pub(in super::super) fn mutating_policy(report: &mut Report, policy: &Value) {
    let (spec, path) = (&policy["spec"], Path::new("spec"));
    let names = Names::of(spec);
    common(report, spec, &names, true, &path);
    if spec.list("mutations").is_empty() {
        report.required(&path.child("mutations"), "mutations must contain at least one item");
    }
    for (path, one) in items(spec, "mutations", &path) {
        mutation(report, one, &names, &path);
    }
    report.one_of(&path.child("reinvocationPolicy"), spec.text("reinvocationPolicy"), REINVOCATIONS);
}

/// What policies of both kinds have.
fn common(report: &mut Report, spec: &Value, names: &Names, mutating: bool, path: &Path) {
    report.one_of(&path.child("failurePolicy"), spec.text("failurePolicy"), FAILURE_POLICIES);
    if let Some(kind) = spec.part("paramKind") {
        param_kind(report, kind, &path.child("paramKind"));
    }
    let at = path.child("matchConstraints");
    match spec.part("matchConstraints") {
        None => report.required(&at, ""),
        Some(constraints) => {
            resources(report, constraints, &at);
            if constraints.list("resourceRules").is_empty() {
                report.required(&at.child("resourceRules"), "");
            }
            if mutating {
                mutable(report, constraints, &at);
            }
        }
    }
    conditions(report, spec, &names.all(false, true), path);
    for (path, one) in items(spec, "variables", path) {
        let (name, at) = (one.text("name"), path.child("name"));
        if name.trim().is_empty() {
            report.required(&at, "name is not specified");
        } else if !is_identifier(name) {
            report.invalid(&at, name, "must be a valid CEL identifier");
        }
        expression(report, one, "expression", &names.all(true, true), &Type::Dyn, &path);
    }
}

fn is_identifier(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.starts_with(|first: char| first.is_ascii_digit()) && name.bytes().all(known) && !is_reserved(name)
}

fn expression(report: &mut Report, of: &Value, name: &str, names: &[&str], kind: &Type<'_>, path: &Path) {
    let (text, path) = (of.text(name), path.child(name));
    if text.trim().is_empty() {
        return report.required(&path, &format!("{name} is not specified"));
    }
    compile(report, text, text, names, kind, &path);
}

fn validation(report: &mut Report, one: &Value, names: &Names, path: &Path) {
    const EMPTY: &str = "must be non-empty if specified";
    expression(report, one, "expression", &names.all(true, true), &Type::Bool, path);
    let (text, at) = (one.text("messageExpression"), path.child("messageExpression"));
    if !text.is_empty() && text.trim().is_empty() {
        report.invalid(&at, text, EMPTY);
    } else if !text.is_empty() {
        compile(report, text, text, &names.all(true, false), &Type::Text, &at);
    }
    let (text, at) = (one.text("message"), path.child("message"));
    if !text.is_empty() && text.trim().is_empty() {
        report.invalid(&at, text, EMPTY);
    } else if text.trim().contains(['\n', '\r']) {
        report.invalid(&at, text, "must not contain line breaks");
    }
    super::one_of(report, one, "reason", REASONS, path);
}

fn annotation(report: &mut Report, one: &Value, policy: &str, names: &Names, path: &Path) {
    let (key, at) = (one.text("key"), path.child("key"));
    if policy.is_empty() {
        report.invalid(&at, key, "requires metadata.name be non-empty");
    } else {
        report.qualified_name(&at, &format!("{policy}/{key}"));
    }
    let (text, at) = (one.text("valueExpression"), path.child("valueExpression"));
    match text.trim() {
        "" => report.required(&at, "valueExpression is not specified"),
        long if long.len() > ANNOTATION_BYTES_MAX => {
            report.required(&at, &format!("must not exceed {ANNOTATION_BYTES_MAX} bytes in length"));
        }
        trimmed => compile(report, text, trimmed, &names.all(true, true), &Type::Dyn, &at),
    }
}

fn mutation(report: &mut Report, one: &Value, names: &Names, path: &Path) {
    let kind = one.text("patchType");
    let (own, other) = match kind {
        "JSONPatch" => ("jsonPatch", "applyConfiguration"),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
        _ => return report.one_of(&path.child("patchType"), kind, &["ApplyConfiguration", "JSONPatch"]),
    };
    let at = path.child(own);
    match one.part(own) {
        None => report.required(&at, &format!("must be specified when patchType is {kind}")),
        Some(patch) => {
            let at = at.child("expression");
            match patch.text("expression").trim() {
                "" => report.required(&at, ""),
                text => compile(report, text, text, &names.all(true, true), &Type::Dyn, &at),
            }
        }
    }
    if one.part(other).is_some() {
        let why = format!("must not be specified when patchType is {kind}");
        report.invalid(&path.child(other), format!("{{{other}}}"), why);
    }
}

/// The kind of the objects that parameterize a policy.
fn param_kind(report: &mut Report, kind: &Value, path: &Path) {
    let (text, at) = (kind.text("apiVersion"), path.child("apiVersion"));
    let (group, version) = match text {
        "/" => ("", ""),
        text => text.split_once('/').unwrap_or(("", text)),
    };
    if text.is_empty() {
        report.required(&at, "");
    } else if version.contains('/') {
        report.invalid(&at, text, format!("unexpected GroupVersion string: {text}"));
    } else {
        let complaints = names::dns_subdomain(group);
        if !group.is_empty() && !complaints.is_empty() {
            report.invalid(&at, group, complaints.join(","));
        }
        let complaints = names::dns_1035_label(version);
        if version.is_empty() {
            report.invalid(&at, text, "version must be specified");
        } else if !complaints.is_empty() {
            report.invalid(&at, version, complaints.join(","));
        }
    }
    let (name, at) = (kind.text("kind"), path.child("kind"));
    let complaints = names::dns_1035_label(&name.to_lowercase());
    if name.is_empty() {
        report.required(&at, "");
    } else if !complaints.is_empty() {
        let why = format!("may have mixed case, but should otherwise match: {}", complaints.join(","));
        report.invalid(&at, name, why);
    }
}

/// `matchConstraints` of a policy, `matchResources` of a binding.
fn resources(report: &mut Report, resources: &Value, path: &Path) {
    report.one_of(&path.child("matchPolicy"), resources.text("matchPolicy"), MATCH_POLICIES);
    for name in ["namespaceSelector", "objectSelector"] {
        match resources.part(name) {
            None => report.required(&path.child(name), ""),
            Some(selector) => labels::selector(report, selector, &path.child(name)),
        }
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for (path, rule) in items(resources, list, path) {
            rule::with_names(report, rule, &path);
        }
    }
}

fn mutable(report: &mut Report, resources: &Value, path: &Path) {
    let path = path.child("resourceRules").child("operations");
    for rule in resources.list("resourceRules") {
        for operation in rule.texts("operations").filter(|operation| !MUTABLE.contains(operation)) {
            report.not_supported(&path, operation, MUTABLE);
        }
    }
}

/// What binds a validating policy.
pub(in super::super) fn binding(report: &mut Report, binding: &Value) {
    let (spec, path) = (&binding["spec"], Path::new("spec"));
    bound(report, spec, &path);
    let (mut seen, at) = (HashSet::new(), path.child("validationActions"));
    for (index, action) in spec.texts("validationActions").enumerate() {
        let known = &["Audit", "Deny", "Warn"];
        if !known.contains(&action) {
            report.not_supported(&at.index(index), action, known);
        }
        if !seen.insert(action) {
            report.duplicate(&at.index(index), action);
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        report.invalid(&at, spec["validationActions"].clone(), why);
    }
    if seen.is_empty() {
        report.required(&at, "at least one validation action is required");
    }
}

/// What binds a mutating policy.
pub(in super::super) fn mutating_binding(report: &mut Report, binding: &Value) {
    let (spec, path) = (&binding["spec"], Path::new("spec"));
    bound(report, spec, &path);
    mutable(report, &spec["matchResources"], &path.child("matchResources"));
}

/// What bindings of both kinds have.
fn bound(report: &mut Report, spec: &Value, path: &Path) {
    match spec.text("policyName") {
        "" => report.required(&path.child("policyName"), ""),
        name => report.dns_subdomain(&path.child("policyName"), name),
    }
    if let Some(reference) = spec.part("paramRef") {
        param_ref(report, reference, &path.child("paramRef"));
    }
    if let Some(matched) = spec.part("matchResources") {
        resources(report, matched, &path.child("matchResources"));
    }
}

fn param_ref(report: &mut Report, reference: &Value, path: &Path) {
    const EITHER: &str = "name and selector are mutually exclusive";
    let (name, selector) = (reference.text("name"), reference.part("selector"));
    report.complaints(&path.child("name"), name, names::path_segment(name));
    if !name.is_empty() && selector.is_some() {
        report.forbidden(&path.child("name"), EITHER);
    }
    if let Some(selector) = selector {
        labels::selector(report, selector, &path.child("selector"));
        if !name.is_empty() {
            report.forbidden(&path.child("selector"), EITHER);
        }
    }
    if name.is_empty() && selector.is_none() {
        report.required(path, "one of name or selector must be specified");
    }
    let action = reference.text("parameterNotFoundAction");
    report.one_of(&path.child("parameterNotFoundAction"), action, &["Deny", "Allow"]);
}

/// What was found when the types of a policy were checked.
pub(in super::super) fn policy_status(report: &mut Report, policy: &Value) {
    let (status, path) = (&policy["status"], Path::new("status"));
    let checking = path.child("typeChecking");
    for (path, warning) in items(&status["typeChecking"], "expressionWarnings", &checking) {
        for name in ["warning", "fieldRef"] {
            if warning.text(name).trim().is_empty() {
                report.required(&path.child(name), "");
            }
        }
    }
    status_conditions::check(report, status, &path);
}

//! Disruption budgets, limits, quotas, priority and runtime classes, priority and fairness.

use serde_json::Value;

use super::fields::{Fields, items, parse_quantity};
use super::report::{IMMUTABLE, NEGATIVE, Report};
use super::{conditions, labels};
use crate::field::Path;

const HIGHEST_PRIORITY: i64 = 1_000_000_000;
const SYSTEM_CLASSES: &[(&str, i64)] =
    &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];
const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

pub(super) fn budget(report: &mut Report, budget: &Value) {
    let (spec, path) = (&budget["spec"], Path::new("spec"));
    let bounds = ["minAvailable", "maxUnavailable"];
    if bounds.iter().all(|name| spec.part(name).is_some()) {
        report.invalid(&path, spec.clone(), "minAvailable and maxUnavailable cannot be both set");
    }
    for name in bounds {
        if let Some(bound) = spec.part(name) {
            int_or_percent(report, bound, &path.child(name));
        }
    }
    labels::selector(report, &spec["selector"], &path.child("selector"));
    let policy = spec.text("unhealthyPodEvictionPolicy");
    let known = &["AlwaysAllow", "IfHealthyBudget"];
    if !policy.is_empty() && !known.contains(&policy) {
        report.not_supported(&path.child("unhealthyPodEvictionPolicy"), policy, known);
    }
}

/// Status of a budget.
pub(super) fn budget_status(report: &mut Report, budget: &Value) {
    let (status, path) = (&budget["status"], Path::new("status"));
    conditions::check(report, status, &path);
    for name in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        report.non_negative(&path.child(name), status.number(name));
    }
}

/// A number that is not negative, or up to a hundred percent.
pub(super) fn int_or_percent(report: &mut Report, value: &Value, path: &Path) {
    let Value::String(text) = value else { return report.non_negative(path, value.as_i64()) };
    let digits = text.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.filter(|digits| !digits.is_empty()).map(|digits| digits.parse::<u64>()) {
        None => report.invalid(path, text.as_str(), super::workload::NOT_A_PERCENTAGE),
        Some(Ok(..=100)) => {}
        Some(_) => report.invalid(path, text.as_str(), "must not be greater than 100%"),
    }
}

pub(super) fn limit_range(report: &mut Report, range: &Value) {
    let mut seen = Vec::new();
    for (path, item) in items(&range["spec"], "limits", &Path::new("spec")) {
        let kind = item.text("type");
        if seen.contains(&kind) {
            report.duplicate(&path.child("type"), kind);
        }
        seen.push(kind);
        for part in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
            for (name, _) in item.entries(part) {
                report.qualified_name(&path.child(part).key(name), name);
            }
        }
        if kind == "Pod" {
            for (part, what) in [("default", "default"), ("defaultRequest", "defaultRequest")] {
                if item.entries(part).next().is_some() {
                    let why = "may not be specified when `type` is 'Pod'";
                    report.forbidden(&path.child("limits").child(what), why);
                }
            }
        }
        if kind == "PersistentVolumeClaim"
            && ["min", "max"].iter().all(|part| item[*part].get("storage").is_none())
        {
            report.required(
                &path.child("limits"),
                "either minimum or maximum storage value is required, but neither was provided",
            );
        }
        bounds(report, item, &path);
    }
}

/// Minimum, default request, default, maximum: in this order.
fn bounds(report: &mut Report, item: &Value, path: &Path) {
    let order = [
        ("min", "max", "min value", "max value"),
        ("min", "defaultRequest", "min value", "default request value"),
        ("defaultRequest", "max", "default request value", "max value"),
        ("defaultRequest", "default", "default request value", "default limit value"),
        ("min", "default", "min value", "default value"),
        ("default", "max", "default value", "max value"),
    ];
    for (low, high, low_name, high_name) in order {
        for (name, low_value) in item.entries(low) {
            let (Some(least), Some(most)) = (parse_quantity(low_value), item[high].quantity(name)) else {
                continue;
            };
            if least > most {
                // The higher one is wrong only where it is a default below the minimum.
                let field = if low == "min" && high != "max" { high } else { low };
                let shown = if field == low { &least } else { &most };
                let why = format!("{low_name} {least} is greater than {high_name} {most}");
                report.invalid(&path.child(field).key(name), shown.to_string(), why);
            }
        }
    }
}

pub(super) fn quota(report: &mut Report, quota: &Value) {
    let (spec, path) = (&quota["spec"], Path::new("spec"));
    amounts(report, spec, "hard", &path);
    for scope in spec.texts("scopes") {
        if !SCOPES.contains(&scope) {
            report.invalid(&path.child("scopes"), spec["scopes"].clone(), "unsupported scope");
        }
    }
    let contrary = [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")];
    for (one, other) in contrary {
        if [one, other].iter().all(|scope| spec.texts("scopes").any(|given| given == *scope)) {
            report.invalid(&path.child("scopes"), spec["scopes"].clone(), "conflicting scopes");
        }
    }
}

fn amounts(report: &mut Report, of: &Value, part: &str, path: &Path) {
    let path = path.child(part);
    for (name, amount) in of.entries(part) {
        let path = path.key(name);
        report.qualified_name(&path, name);
        let Some(amount) = parse_quantity(amount) else { continue };
        if amount.sign() < 0 {
            report.invalid(&path, amount.to_string(), NEGATIVE);
        }
        let counted = name.starts_with("count/")
            || matches!(
                name,
                "pods"
                    | "services"
                    | "replicationcontrollers"
                    | "resourcequotas"
                    | "secrets"
                    | "configmaps"
                    | "persistentvolumeclaims"
                    | "services.nodeports"
                    | "services.loadbalancers"
            );
        if counted && !amount.is_whole() {
            report.invalid(&path, amount.to_string(), "must be an integer");
        }
    }
}

pub(super) fn quota_update(report: &mut Report, new: &Value, old: &Value) {
    let sorted = |quota: &Value| {
        let mut scopes: Vec<String> = quota["spec"].texts("scopes").map(str::to_owned).collect();
        scopes.sort_unstable();
        scopes
    };
    if sorted(new) != sorted(old) {
        report.invalid(&Path::new("spec").child("scopes"), new["spec"]["scopes"].clone(), IMMUTABLE);
    }
}

pub(super) fn quota_status(report: &mut Report, quota: &Value) {
    for part in ["hard", "used"] {
        amounts(report, &quota["status"], part, &Path::new("status"));
    }
}

pub(super) fn priority_class(report: &mut Report, class: &Value) {
    let (name, value) = (class["metadata"].text("name"), class.number("value").unwrap_or_default());
    if let Some(known) = SYSTEM_CLASSES.iter().find(|(system, _)| *system == name) {
        if value != known.1 {
            let path = Path::new("metadata").child("name");
            let why = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: value of {name} PriorityClass must be {}",
                known.1
            );
            report.forbidden(&path, why);
        }
    } else if name.starts_with("system-") {
        let why = format!(
            "priority class names with 'system-' prefix are reserved for system use only. error: {name} is not a known system priority class"
        );
        report.forbidden(&Path::new("metadata").child("name"), why);
    } else if value > HIGHEST_PRIORITY {
        let why = format!("maximum allowed value of a user defined priority is {HIGHEST_PRIORITY}");
        report.forbidden(&Path::new("value"), why);
    }
    let policy = class.text("preemptionPolicy");
    if !policy.is_empty() {
        report.one_of(&Path::new("preemptionPolicy"), policy, &["Never", "PreemptLowerPriority"]);
    }
}

pub(super) fn priority_class_update(report: &mut Report, new: &Value, old: &Value) {
    if new.number("value") != old.number("value") {
        report.forbidden(&Path::new("value"), "may not be changed in an update.");
    }
    report.immutable(&Path::new("preemptionPolicy"), &new["preemptionPolicy"], &old["preemptionPolicy"]);
}

pub(super) fn runtime_class(report: &mut Report, class: &Value) {
    report.dns_label(&Path::new("handler"), class.text("handler"));
    let overhead = Path::new("overhead").child("podFixed");
    for (name, amount) in class["overhead"].entries("podFixed") {
        if let Some(amount) = parse_quantity(amount) {
            report.non_negative_quantity(&overhead.key(name), &amount);
        }
    }
    let scheduling = Path::new("scheduling").child("nodeSelector");
    labels::labels(report, &class["scheduling"]["nodeSelector"], &scheduling);
}

pub(super) fn runtime_class_update(report: &mut Report, new: &Value, old: &Value) {
    report.immutable(&Path::new("handler"), &new["handler"], &old["handler"]);
}

pub(super) fn flow_schema(report: &mut Report, schema: &Value) {
    let (spec, path) = (&schema["spec"], Path::new("spec"));
    let precedence = spec.number("matchingPrecedence").unwrap_or_default();
    if precedence <= 0 {
        report.invalid(&path.child("matchingPrecedence"), precedence, "must be a positive value");
    }
    if precedence > 10_000 {
        report.invalid(&path.child("matchingPrecedence"), precedence, "must not be greater than 10000");
    }
    if precedence == 1 && schema["metadata"].text("name") != "exempt" {
        let why = "only the schema named 'exempt' may have matchingPrecedence 1";
        report.invalid(&path.child("matchingPrecedence"), precedence, why);
    }
    if spec["priorityLevelConfiguration"].text("name").is_empty() {
        report.required(
            &path.child("priorityLevelConfiguration").child("name"),
            "must reference a priority level",
        );
    }
    for (path, rule) in items(spec, "rules", &path) {
        if rule.list("subjects").is_empty() {
            report.required(&path.child("subjects"), "subjects must contain at least one value");
        }
        if rule.list("resourceRules").is_empty() && rule.list("nonResourceRules").is_empty() {
            let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
            report.required(&path, why);
        }
    }
}

pub(super) fn priority_level(report: &mut Report, level: &Value) {
    let (spec, path) = (&level["spec"], Path::new("spec"));
    match spec.text("type") {
        "Exempt" => {
            if spec.part("limited").is_some() {
                report.forbidden(&path.child("limited"), "must be nil if the type is not Limited");
            }
        }
        "Limited" => {
            if spec.part("exempt").is_some() {
                report.forbidden(&path.child("exempt"), "must be nil if the type is Limited");
            }
            let (limited, path) = (&spec["limited"], path.child("limited"));
            if limited.is_null() {
                return report.required(&path, "must not be empty when type is Limited");
            }
            report.non_negative(
                &path.child("nominalConcurrencyShares"),
                limited.number("nominalConcurrencyShares"),
            );
            let response = path.child("limitResponse");
            match (limited["limitResponse"].text("type"), limited["limitResponse"].part("queuing")) {
                ("Reject", Some(_)) => {
                    report.forbidden(
                        &response.child("queuing"),
                        "must be nil if limited.limitResponse.type is not Limited",
                    );
                }
                ("Queue", None) => {
                    report.required(
                        &response.child("queuing"),
                        "must not be empty if limited.limitResponse.type is Limited",
                    );
                }
                ("Reject" | "Queue", _) => {}
                (other, _) => report.not_supported(&response.child("type"), other, &["Queue", "Reject"]),
            }
        }
        other => report.not_supported(&path.child("type"), other, &["Exempt", "Limited"]),
    }
}

//! Disruption budgets, priority classes, runtime classes.

use serde_json::Value;

use super::fields::Fields;
use super::report::Report;
use super::{conditions, labels, pod};
use crate::field::Path;

const HIGHEST_PRIORITY: i64 = 1_000_000_000;
const SYSTEM_CLASSES: &[(&str, i64)] =
    &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];
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
    if spec.part("unhealthyPodEvictionPolicy").is_some() && !known.contains(&policy) {
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

pub(super) fn priority_class(report: &mut Report, class: &Value) {
    let (name, value) = (class["metadata"].text("name"), class.number("value").unwrap_or_default());
    if name.starts_with("system-") {
        let why = match SYSTEM_CLASSES.iter().find(|(system, _)| *system == name) {
            None => format!("{name} is not a known system priority class"),
            Some((_, known)) if value != *known => {
                format!("value of {name} PriorityClass must be {known}")
            }
            Some(_) if class.flag("globalDefault") => {
                format!("globalDefault of {name} PriorityClass must be false")
            }
            Some(_) => String::new(),
        };
        if !why.is_empty() {
            let why = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
            );
            report.forbidden(&Path::new("metadata").child("name"), why);
        }
    } else if value > HIGHEST_PRIORITY {
        let why = format!("maximum allowed value of a user defined priority is {HIGHEST_PRIORITY}");
        report.forbidden(&Path::new("value"), why);
    }
    let policy = class.text("preemptionPolicy");
    if class.part("preemptionPolicy").is_some() {
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
    if let Some(fixed) = class["overhead"].part("podFixed") {
        pod::class_overhead(report, fixed, &Path::new("overhead"));
    }
    let (scheduling, path) = (&class["scheduling"], Path::new("scheduling"));
    labels::labels(report, &scheduling["nodeSelector"], &path.child("nodeSelector"));
    pod::tolerations(report, scheduling.list("tolerations"), &path.child("tolerations"));
}

pub(super) fn runtime_class_update(report: &mut Report, new: &Value, old: &Value) {
    report.immutable(&Path::new("handler"), &new["handler"], &old["handler"]);
}

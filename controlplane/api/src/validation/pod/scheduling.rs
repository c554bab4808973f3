//! Tolerations, topology spread, scheduling gates and readiness gates.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::super::fields::{Fields, items};
use super::super::labels;
use super::super::report::{NOT_POSITIVE, Report};
use crate::field::Path;
use crate::names;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const ACTIONS: &[&str] = &["DoNotSchedule", "ScheduleAnyway"];
const POLICIES: &[&str] = &["Honor", "Ignore"];

pub(in super::super) fn tolerations(report: &mut Report, tolerations: &[Value], path: &Path) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = path.index(index);
        let (key, operator) = (toleration.text("key"), toleration.text("operator"));
        let (value, effect) = (toleration.text("value"), toleration.text("effect"));
        let operator_path = path.child("operator");
        if !key.is_empty() {
            report.qualified_name(&path.child("key"), key);
        } else if operator != "Exists" {
            let why =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            report.invalid(&operator_path, operator, why);
        }
        if toleration.part("tolerationSeconds").is_some() && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            report.invalid(&path.child("effect"), effect, why);
        }
        match operator {
            "" | "Equal" => {
                let complaints = names::label_value(value);
                if !complaints.is_empty() {
                    report.invalid(&operator_path, value, complaints.join(";"));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    report.invalid(&operator_path, value, "value must be empty when `operator` is 'Exists'");
                }
            }
            // Known, but not by default.
            "Lt" | "Gt" => report.not_supported(&operator_path, operator, &["Equal", "Exists", "Lt", "Gt"]),
            other => report.not_supported(&operator_path, other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            taint_effect(report, effect, &path.child("effect"));
        }
    }
}

/// What a taint does, or a toleration tolerates.
pub(in super::super) fn taint_effect(report: &mut Report, effect: &str, path: &Path) {
    report.one_of(path, effect, EFFECTS);
}

/// `schedulingGates` and `readinessGates`.
pub(super) fn gates(report: &mut Report, spec: &Value, path: &Path) {
    for (path, gate) in items(spec, "readinessGates", path) {
        report.qualified_name(&path.child("conditionType"), gate.text("conditionType"));
    }
    let mut seen = HashSet::new();
    for (path, gate) in items(spec, "schedulingGates", path) {
        report.qualified_name(&path, gate.text("name"));
        if !seen.insert(gate.text("name")) {
            report.duplicate(&path, gate.text("name"));
        }
    }
}

/// `topologySpreadConstraints`.
pub(super) fn spread<'a>(report: &mut Report, spec: &'a Value, path: &Path) {
    let pair = |constraint: &'a Value| (constraint.text("topologyKey"), constraint.text("whenUnsatisfiable"));
    let all = spec.list("topologySpreadConstraints").iter().enumerate();
    let last: HashMap<_, _> = all.map(|(index, constraint)| (pair(constraint), index)).collect();
    for (index, (path, constraint)) in items(spec, "topologySpreadConstraints", path).enumerate() {
        let (key, action) = pair(constraint);
        let skew = constraint.number("maxSkew").unwrap_or_default();
        if skew <= 0 {
            report.invalid(&path.child("maxSkew"), skew, NOT_POSITIVE);
        }
        if key.is_empty() {
            report.required(&path.child("topologyKey"), "can not be empty");
        }
        if !ACTIONS.contains(&action) {
            report.not_supported(&path.child("whenUnsatisfiable"), action, ACTIONS);
        }
        if last.get(&(key, action)).is_some_and(|last| *last > index) {
            let path = path.child("{topologyKey, whenUnsatisfiable}");
            report.duplicate(&path, format!("{{{key}, {action}}}"));
        }
        min_domains(report, constraint, &path.child("minDomains"));
        for name in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if constraint.part(name).is_some() && !POLICIES.contains(&constraint.text(name)) {
                report.not_supported(&path.child(name), constraint.text(name), POLICIES);
            }
        }
        match_label_keys(report, constraint, &path.child("matchLabelKeys"));
        labels::selector(report, &constraint["labelSelector"], &path.child("labelSelector"));
    }
}

fn min_domains(report: &mut Report, constraint: &Value, path: &Path) {
    let Some(least) = constraint.number("minDomains") else { return };
    if least <= 0 {
        report.invalid(path, least, NOT_POSITIVE);
    }
    let action = constraint.text("whenUnsatisfiable");
    if action != "DoNotSchedule" {
        let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
        report.invalid(path, least, why);
    }
}

fn match_label_keys(report: &mut Report, constraint: &Value, path: &Path) {
    if constraint.list("matchLabelKeys").is_empty() {
        return;
    }
    let selector = &constraint["labelSelector"];
    if selector.is_null() {
        report.forbidden(path, "must not be specified when labelSelector is not set");
    }
    for (index, key) in constraint.texts("matchLabelKeys").enumerate() {
        report.qualified_name(&path.index(index), key);
    }
    // A condition per key has been put into the selector already: the second one is the user's.
    let mut seen: HashSet<&str> = selector.entries("matchLabels").map(|(key, _)| key).collect();
    let keys: HashMap<&str, usize> =
        constraint.texts("matchLabelKeys").enumerate().map(|(index, key)| (key, index)).collect();
    for expression in selector.list("matchExpressions") {
        let key = expression.text("key");
        if let (Some(index), true) = (keys.get(key), seen.contains(key)) {
            report.invalid(&path.index(*index), key, "exists in both matchLabelKeys and labelSelector");
        }
        seen.insert(key);
    }
}

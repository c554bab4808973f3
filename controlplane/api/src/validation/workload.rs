//! Deployments and ReplicaSets, and the Scale of either.

use serde_json::Value;

use super::fields::Fields;
use super::metadata::{self, NameRule};
use super::report::Report;
use super::{labels, pod};
use crate::field::Path;
use crate::selector::LabelSelector;

pub(super) const NOT_A_PERCENTAGE: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
const STRATEGIES: &[&str] = &["Recreate", "RollingUpdate"];

/// `spec` of a Deployment.
pub(super) fn deployment(report: &mut Report, deployment: &Value) {
    let (spec, path) = (&deployment["spec"], Path::new("spec"));
    report.non_negative(&path.child("replicas"), spec.number("replicas"));
    selector_and_template(report, spec, &path);
    strategy(report, &spec["strategy"], &path.child("strategy"));
    for name in ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        report.non_negative(&path.child(name), spec.number(name));
    }
    let ready_seconds = spec.number("minReadySeconds").unwrap_or_default();
    if let Some(seconds) = spec.number("progressDeadlineSeconds").filter(|seconds| *seconds <= ready_seconds)
    {
        let why = "must be greater than minReadySeconds";
        report.invalid(&path.child("progressDeadlineSeconds"), seconds, why);
    }
}

/// `spec` of a ReplicaSet.
pub(super) fn replica_set(report: &mut Report, set: &Value) {
    let (spec, path) = (&set["spec"], Path::new("spec"));
    report.non_negative(&path.child("replicas"), spec.number("replicas"));
    report.non_negative(&path.child("minReadySeconds"), spec.number("minReadySeconds"));
    selector_and_template(report, spec, &path);
}

/// What an update may not change, beyond what creation checks.
pub(super) fn update(report: &mut Report, new: &Value, old: &Value) {
    let (after, before) = (&new["spec"]["selector"], &old["spec"]["selector"]);
    report.immutable(&Path::new("spec").child("selector"), after, before);
}

/// Status of a Deployment.
pub(super) fn deployment_status(report: &mut Report, new: &Value, old: &Value) {
    let (status, path) = (&new["status"], Path::new("status"));
    let counts = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ];
    for name in counts {
        report.non_negative(&path.child(name), status.number(name));
    }
    within_replicas(report, status, &["updatedReplicas", "readyReplicas", "availableReplicas"], &path);
    collisions(report, status, &old["status"], &path);
}

/// Once counted, a collision stays counted.
pub(super) fn collisions(report: &mut Report, new: &Value, old: &Value, path: &Path) {
    let (after, before) = (new.number("collisionCount"), old.number("collisionCount"));
    // Absent is less than zero here.
    if after < before {
        let path = path.child("collisionCount");
        report.invalid(&path, after.unwrap_or_default(), "cannot be decremented");
    }
}

/// Status of a ReplicaSet.
pub(super) fn replica_set_status(report: &mut Report, new: &Value) {
    let (status, path) = (&new["status"], Path::new("status"));
    let counts = [
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    ];
    for name in counts {
        report.non_negative(&path.child(name), status.number(name));
    }
    within_replicas(report, status, &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"], &path);
}

/// A Scale, whatever it scales.
pub(super) fn scale(report: &mut Report, scale: &Value) {
    let path = Path::new("metadata");
    metadata::create(report, &scale["metadata"], true, NameRule::Subdomain, &path);
    report.non_negative(&Path::new("spec").child("replicas"), scale["spec"].number("replicas"));
}

fn within_replicas(report: &mut Report, status: &Value, names: &[&str], path: &Path) {
    let count = |name: &str| status.number(name).unwrap_or_default();
    for name in names {
        if count(name) > count("replicas") {
            report.invalid(&path.child(name), count(name), "cannot be greater than status.replicas");
        }
    }
    if count("availableReplicas") > count("readyReplicas") {
        let path = path.child("availableReplicas");
        report.invalid(&path, count("availableReplicas"), "cannot be greater than readyReplicas");
    }
}

fn selector_and_template(report: &mut Report, spec: &Value, path: &Path) {
    let selector = &spec["selector"];
    let selector_path = path.child("selector");
    if selector.is_null() {
        report.required(&selector_path, "");
    } else {
        labels::selector(report, selector, &selector_path);
        if labels::is_everything(selector) {
            // ReplicaSets say the same.
            report.invalid(&selector_path, selector.clone(), "empty selector is invalid for deployment");
        }
    }
    match LabelSelector::from_object(Some(selector)) {
        Err(_) => report.invalid(&selector_path, selector.clone(), "invalid label selector"),
        Ok(parsed) => template(report, spec, &parsed, &path.child("template")),
    }
}

fn template(report: &mut Report, spec: &Value, selector: &LabelSelector, path: &Path) {
    let template = &spec["template"];
    let found = template["metadata"].get("labels");
    if !selector.is_everything() && !selector.matches(&found) {
        let labels = found.cloned().unwrap_or_default();
        let why = "`selector` does not match template `labels`";
        report.invalid(&path.child("metadata").child("labels"), labels, why);
    }
    pod::template(report, template, path);
    let path = path.child("spec");
    let policy = template["spec"].text("restartPolicy");
    if policy != "Always" {
        report.not_supported(&path.child("restartPolicy"), policy, &["Always"]);
    }
    if template["spec"].part("activeDeadlineSeconds").is_some() {
        let why = "activeDeadlineSeconds in ReplicaSet is not Supported";
        report.forbidden(&path.child("activeDeadlineSeconds"), why);
    }
}

fn strategy(report: &mut Report, strategy: &Value, path: &Path) {
    let (update, update_path) = (strategy.part("rollingUpdate"), path.child("rollingUpdate"));
    match (strategy.text("type"), update) {
        ("Recreate", None) => {}
        ("Recreate", Some(_)) => {
            report.forbidden(&update_path, "may not be specified when strategy `type` is 'Recreate'");
        }
        ("RollingUpdate", None) => {
            report.required(&update_path, "this should be defaulted and never be nil");
        }
        ("RollingUpdate", Some(update)) => rolling_update(report, update, &update_path),
        _ => report.not_supported(path, strategy.clone(), STRATEGIES),
    }
}

fn rolling_update(report: &mut Report, update: &Value, path: &Path) {
    for name in ["maxUnavailable", "maxSurge"] {
        positive_or_percentage(report, &update[name], &path.child(name));
    }
    let unavailable = &update["maxUnavailable"];
    let unavailable_path = path.child("maxUnavailable");
    if percentage_or_number(unavailable) == 0 && percentage_or_number(&update["maxSurge"]) == 0 {
        let why = "may not be 0 when `maxSurge` is 0";
        report.invalid(&unavailable_path, unavailable.clone(), why);
    }
    not_above_all(report, unavailable, &unavailable_path);
}

/// A number or a percentage, neither negative.
pub(super) fn positive_or_percentage(report: &mut Report, value: &Value, path: &Path) {
    match value {
        Value::String(text) if percentage(text).is_none() => {
            report.invalid(path, text.as_str(), NOT_A_PERCENTAGE);
        }
        number => report.non_negative(path, number.as_i64()),
    }
}

/// No percentage above 100.
pub(super) fn not_above_all(report: &mut Report, value: &Value, path: &Path) {
    if value.as_str().and_then(percentage).is_some_and(|percent| percent > 100) {
        report.invalid(path, value.clone(), "must not be greater than 100%");
    }
}

/// The number before a percent sign.
fn percentage(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%')?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().unwrap_or(i64::MAX))
}

/// What either is, for asking whether it is nothing.
pub(super) fn percentage_or_number(value: &Value) -> i64 {
    match value {
        // As upstream reads a string that is not a percentage.
        Value::String(text) => percentage(text).unwrap_or_else(|| text.parse().unwrap_or_default()),
        number => number.as_i64().unwrap_or_default(),
    }
}

//! StatefulSets, DaemonSets, ReplicationControllers and the revisions of the first two.

use serde_json::Value;

use super::fields::Fields;
use super::report::Report;
use super::{labels, pod, policy};
use crate::field::Path;
use crate::selector::LabelSelector;

const DOES_NOT_MATCH: &str = "`selector` does not match template `labels`";
const STATEFUL_SET_KEEPS: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

pub(super) fn stateful_set(report: &mut Report, set: &Value) {
    let (spec, path) = (&set["spec"], Path::new("spec"));
    match spec.text("podManagementPolicy") {
        "" => report.required(&path.child("podManagementPolicy"), ""),
        "OrderedReady" | "Parallel" => {}
        other => {
            report.invalid(&path.child("podManagementPolicy"), other, "must be 'OrderedReady' or 'Parallel'")
        }
    }
    update_strategy(report, &spec["updateStrategy"], &path.child("updateStrategy"));
    let retention = path.child("persistentVolumeClaimRetentionPolicy");
    for name in ["whenDeleted", "whenScaled"] {
        let given = spec["persistentVolumeClaimRetentionPolicy"].text(name);
        if !matches!(given, "Retain" | "Delete") {
            report.not_supported(&retention.child(name), given, &["Delete", "Retain"]);
        }
    }
    report.non_negative(&path.child("replicas"), spec.number("replicas"));
    report.non_negative(&path.child("minReadySeconds"), spec.number("minReadySeconds"));
    report.non_negative(&path.child("ordinals").child("start"), spec["ordinals"].number("start"));
    let selector_path = path.child("selector");
    match spec.part("selector") {
        None => report.required(&selector_path, ""),
        Some(selector) => {
            labels::selector(report, selector, &selector_path);
            if labels::is_everything(selector) {
                report.invalid(&selector_path, selector.clone(), "empty selector is invalid for statefulset");
            }
        }
    }
    template(report, spec, LabelSelector::from_object(spec.get("selector")).ok(), "StatefulSet", &path);
}

fn update_strategy(report: &mut Report, strategy: &Value, path: &Path) {
    let (rolling, rolling_path) = (strategy.part("rollingUpdate"), path.child("rollingUpdate"));
    match strategy.text("type") {
        "" => report.required(path, ""),
        "OnDelete" => {
            if let Some(rolling) = rolling {
                report.invalid(
                    &rolling_path,
                    rolling.clone(),
                    "only allowed for updateStrategy 'RollingUpdate'",
                );
            }
        }
        "RollingUpdate" => {
            let partition = strategy["rollingUpdate"].number("partition");
            report.non_negative(&rolling_path.child("partition"), partition);
            if let Some(most) = strategy["rollingUpdate"].part("maxUnavailable") {
                most_unavailable(report, most, &rolling_path.child("maxUnavailable"));
            }
        }
        _ => report.invalid(path, strategy.clone(), "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

fn most_unavailable(report: &mut Report, most: &Value, path: &Path) {
    let before = report.len();
    policy::int_or_percent(report, most, path);
    let none =
        most.as_i64() == Some(0) || most.as_str().is_some_and(|text| text.trim_start_matches('0') == "%");
    if none && report.len() == before {
        report.invalid(path, most.clone(), "cannot be 0");
    }
}

/// A template that a selector must match, whose pods run for ever.
fn template(report: &mut Report, spec: &Value, selector: Option<LabelSelector>, owner: &str, path: &Path) {
    let path = path.child("template");
    let template = &spec["template"];
    let found = template["metadata"].get("labels");
    if let Some(selector) = selector
        && !selector.is_everything()
        && !selector.matches(&found)
    {
        let path = path.child("metadata").child("labels");
        report.invalid(&path, found.cloned().unwrap_or_default(), DOES_NOT_MATCH);
    }
    pod::template(report, template, &path);
    let (spec, path) = (&template["spec"], path.child("spec"));
    if spec.text("restartPolicy") != "Always" {
        report.not_supported(&path.child("restartPolicy"), spec.text("restartPolicy"), &["Always"]);
    }
    if spec.part("activeDeadlineSeconds").is_some() {
        let why = format!("activeDeadlineSeconds in {owner} is not Supported");
        report.forbidden(&path.child("activeDeadlineSeconds"), why);
    }
}

pub(super) fn stateful_set_update(report: &mut Report, new: &Value, old: &Value) {
    let rest = |object: &Value| {
        let mut spec = object["spec"].clone();
        if let Some(fields) = spec.as_object_mut() {
            for name in [
                "replicas",
                "ordinals",
                "template",
                "updateStrategy",
                "revisionHistoryLimit",
                "persistentVolumeClaimRetentionPolicy",
                "minReadySeconds",
            ] {
                fields.shift_remove(name);
            }
        }
        spec
    };
    if rest(new) != rest(old) {
        report.forbidden(&Path::new("spec"), STATEFUL_SET_KEEPS);
    }
}

pub(super) fn stateful_set_status(report: &mut Report, set: &Value) {
    let counts = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "collisionCount",
    ];
    counted(report, &set["status"], &counts);
    let (status, path) = (&set["status"], Path::new("status"));
    let replicas = status.number("replicas").unwrap_or_default();
    for name in ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"] {
        let count = status.number(name).unwrap_or_default();
        if count > replicas {
            report.invalid(&path.child(name), count, "cannot be greater than status.replicas");
        }
    }
}

pub(super) fn daemon_set(report: &mut Report, set: &Value) {
    let (spec, path) = (&set["spec"], Path::new("spec"));
    let selector_path = path.child("selector");
    labels::selector(report, &spec["selector"], &selector_path);
    if spec.part("selector").is_some_and(labels::is_everything) {
        report.invalid(&selector_path, spec["selector"].clone(), "empty selector is invalid for daemonset");
    }
    template(report, spec, LabelSelector::from_object(spec.get("selector")).ok(), "DaemonSet", &path);
    report.non_negative(&path.child("minReadySeconds"), spec.number("minReadySeconds"));
    let (strategy, strategy_path) = (&spec["updateStrategy"], path.child("updateStrategy"));
    match strategy.text("type") {
        "OnDelete" => {}
        "RollingUpdate" => match strategy.part("rollingUpdate") {
            None => report.required(&strategy_path.child("rollingUpdate"), ""),
            Some(rolling) => rolling_daemon_set(report, rolling, &strategy_path.child("rollingUpdate")),
        },
        _ => report.not_supported(&strategy_path, strategy.clone(), &["OnDelete", "RollingUpdate"]),
    }
    report.non_negative(&path.child("revisionHistoryLimit"), spec.number("revisionHistoryLimit"));
}

fn rolling_daemon_set(report: &mut Report, rolling: &Value, path: &Path) {
    let is_zero = |value: &Value| {
        matches!(value.as_str(), Some("0%")) || value.as_i64().unwrap_or_default() == 0 && !value.is_string()
    };
    for name in ["maxUnavailable", "maxSurge"] {
        report.non_negative(&path.child(name), rolling.number(name));
    }
    let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    match (is_zero(unavailable), is_zero(surge)) {
        (true, true) => {
            report.invalid(
                &path.child("maxUnavailable"),
                unavailable.clone(),
                "cannot be 0 when maxSurge is 0",
            );
        }
        (false, false) => {
            report.invalid(
                &path.child("maxSurge"),
                surge.clone(),
                "may not be set when maxUnavailable is non-zero",
            );
        }
        _ => {}
    }
}

pub(super) fn daemon_set_status(report: &mut Report, set: &Value) {
    let counts = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    counted(report, &set["status"], &counts);
}

pub(super) fn replication_controller(report: &mut Report, controller: &Value) {
    let (spec, path) = (&controller["spec"], Path::new("spec"));
    let selector = spec["selector"].as_object().filter(|selector| !selector.is_empty());
    if selector.is_none() {
        report.required(&path.child("selector"), "");
    }
    report.non_negative(&path.child("replicas"), spec.number("replicas"));
    report.non_negative(&path.child("minReadySeconds"), spec.number("minReadySeconds"));
    if spec.part("template").is_none() {
        report.required(&path.child("template"), "");
        return;
    }
    template(report, spec, selector.map(LabelSelector::from_map), "ReplicationController", &path);
}

pub(super) fn revision(report: &mut Report, revision: &Value) {
    report.non_negative(&Path::new("revision"), revision.number("revision"));
    if revision.part("data").is_none() {
        report.required(&Path::new("data"), "data is mandatory");
    }
}

pub(super) fn revision_update(report: &mut Report, new: &Value, old: &Value) {
    report.immutable(&Path::new("data"), &new["data"], &old["data"]);
}

fn counted(report: &mut Report, status: &Value, names: &[&str]) {
    for name in names {
        report.non_negative(&Path::new("status").child(name), status.number(name));
    }
}

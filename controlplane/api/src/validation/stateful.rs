//! StatefulSets, DaemonSets, ReplicationControllers and the revisions of the first two.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::fields::{Fields, equal, items};
use super::report::Report;
use super::workload::{self, percentage_or_number, positive_or_percentage};
use super::{labels, pod, storage};
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
            report.not_supported(&retention.child(name), given, &["Retain", "Delete"]);
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
    match LabelSelector::from_object(spec.get("selector")) {
        Err(_) => report.invalid(&selector_path, spec["selector"].clone(), ""),
        Ok(selector) => set_template(report, spec, selector, &path),
    }
}

/// What only a new StatefulSet is asked: neither can change later.
pub(super) fn new_stateful_set(report: &mut Report, set: &Value) {
    let (spec, path) = (&set["spec"], Path::new("spec"));
    for (path, claim) in items(spec, "volumeClaimTemplates", &path) {
        storage::claim_spec(report, &claim["spec"], &path.child("spec"));
    }
    if !spec.text("serviceName").is_empty() {
        report.dns_label(&path.child("serviceName"), spec.text("serviceName"));
    }
}

/// The template as its pods will be: with the claims' volumes, and with names that the controller gives.
fn set_template(report: &mut Report, spec: &Value, selector: LabelSelector, path: &Path) {
    let mut shown = spec["template"].clone();
    if let Some(fields) = shown.get_mut("spec").and_then(Value::as_object_mut) {
        fields.shift_remove("subdomain");
        fields.shift_remove("hostname");
        let claims = spec.list("volumeClaimTemplates").iter().map(|claim| claim["metadata"].text("name"));
        let mut names = HashSet::new();
        let mut volumes: Vec<Value> = claims
            .filter(|name| names.insert(*name))
            .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}))
            .collect();
        if !volumes.is_empty() {
            let own = spec["template"]["spec"].list("volumes").iter();
            volumes.extend(own.filter(|volume| !names.contains(volume.text("name"))).cloned());
            fields.insert("volumes".into(), volumes.into());
        }
    }
    let shown = json!({ "template": shown });
    template(report, &shown, Some(selector), "StatefulSet", path);
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
    positive_or_percentage(report, most, path);
    if percentage_or_number(most) == 0 {
        report.invalid(path, most.clone(), "cannot be 0");
    }
    workload::not_above_all(report, most, path);
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
    if !equal(&rest(new), &rest(old)) {
        report.forbidden(&Path::new("spec"), STATEFUL_SET_KEEPS);
    }
}

pub(super) fn stateful_set_status(report: &mut Report, set: &Value, old: &Value) {
    let counts = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ];
    counted(report, &set["status"], &counts);
    let (status, path) = (&set["status"], Path::new("status"));
    let count = |name: &str| status.number(name).unwrap_or_default();
    for name in ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"] {
        if count(name) > count("replicas") {
            report.invalid(&path.child(name), count(name), "cannot be greater than status.replicas");
        }
    }
    if count("availableReplicas") > count("readyReplicas") {
        let why = "cannot be greater than status.readyReplicas";
        report.invalid(&path.child("availableReplicas"), count("availableReplicas"), why);
    }
    workload::collisions(report, status, &old["status"], &path);
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
        _ => report.not_supported(&strategy_path, strategy.clone(), &["RollingUpdate", "OnDelete"]),
    }
    report.non_negative(&path.child("revisionHistoryLimit"), spec.number("revisionHistoryLimit"));
}

fn rolling_daemon_set(report: &mut Report, rolling: &Value, path: &Path) {
    let names = ["maxUnavailable", "maxSurge"];
    for name in names {
        positive_or_percentage(report, &rolling[name], &path.child(name));
    }
    for name in names {
        workload::not_above_all(report, &rolling[name], &path.child(name));
    }
    match names.map(|name| percentage_or_number(&rolling[name]) != 0) {
        [true, true] => {
            let why = "may not be set when maxUnavailable is non-zero";
            report.invalid(&path.child("maxSurge"), rolling["maxSurge"].clone(), why);
        }
        [false, false] => report.required(&path.child("maxUnavailable"), "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}

pub(super) fn daemon_set_status(report: &mut Report, set: &Value, old: &Value) {
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
    workload::collisions(report, &set["status"], &old["status"], &Path::new("status"));
}

pub(super) fn replication_controller(report: &mut Report, controller: &Value) {
    let (spec, path) = (&controller["spec"], Path::new("spec"));
    report.non_negative(&path.child("minReadySeconds"), spec.number("minReadySeconds"));
    let selector = spec["selector"].as_object().filter(|selector| !selector.is_empty());
    if selector.is_none() {
        report.required(&path.child("selector"), "");
    }
    match spec.number("replicas") {
        None => report.required(&path.child("replicas"), ""),
        replicas => report.non_negative(&path.child("replicas"), replicas),
    }
    if spec.part("template").is_none() {
        report.required(&path.child("template"), "");
        return;
    }
    template(report, spec, selector.map(LabelSelector::from_map), "ReplicationController", &path);
}

pub(super) fn revision(report: &mut Report, revision: &Value) {
    report.non_negative(&Path::new("revision"), revision.number("revision"));
}

/// The data of a new revision: an object, whatever is in it.
pub(super) fn new_revision(report: &mut Report, revision: &Value) {
    match revision.part("data") {
        None => report.required(&Path::new("data"), "data is mandatory"),
        Some(Value::Object(_)) => {}
        Some(_) => report.required(&Path::new("data"), "data must be a valid JSON object"),
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

//! What may change in a pod: images, a shorter deadline, more tolerations, fewer gates; ephemeral containers by their
//! own subresource.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::super::fields::{Fields, equal};
use super::super::metadata;
use super::super::report::Report;
use super::{MIRROR, annotations, container, metadata_and_spec, scheduling};
use crate::field::{Path, quote};

const ONLY_THESE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// A write to the pod itself.
pub(in super::super) fn update(report: &mut Report, new: &Value, old: &Value) {
    let path = Path::new("spec");
    shared(report, new, old);
    let (new, old) = (&new["spec"], &old["spec"]);
    for list in ["containers", "initContainers"] {
        let path = path.child(list);
        if new.list(list).len() != old.list(list).len() {
            report.forbidden(&path, "pod updates may not add or remove containers");
            return;
        }
        for (index, container) in new.list(list).iter().enumerate() {
            let path = path.index(index);
            if container.text("image").is_empty() {
                report.required(&path.child("image"), "");
            }
            container::image_in_pod(report, container, &path);
        }
    }
    if !deadline(report, new, old, &path.child("activeDeadlineSeconds")) {
        return;
    }
    tolerations(report, new, old, &path.child("tolerations"));
    scheduling_gates(report, new, old, &path.child("schedulingGates"));
    if new != old {
        let mut rest = new.clone();
        take_back(&mut rest, old);
        if !old.list("schedulingGates").is_empty() {
            node_choice(report, &mut rest, old, &path);
        }
        if !equal(&rest, old) {
            report.forbidden(&path, ONLY_THESE);
        }
    }
}

/// A write to the `ephemeralcontainers` subresource: more of them, nothing else.
pub(in super::super) fn ephemeral_containers(report: &mut Report, new: &Value, old: &Value) {
    if old["metadata"]["annotations"].get(MIRROR).is_some() {
        report.forbidden(&Path::default(), "static pods do not support ephemeral containers");
        return;
    }
    shared(report, new, old);
    let path = Path::new("spec").child("ephemeralContainers");
    let list = new["spec"].list("ephemeralContainers").iter();
    let list: HashMap<&str, &Value> = list.map(|container| (container.text("name"), container)).collect();
    for before in old["spec"].list("ephemeralContainers") {
        let name = before.text("name");
        match list.get(name) {
            None => {
                let why = format!("existing ephemeral containers {} may not be removed\n", quote(name));
                report.forbidden(&path, why);
            }
            Some(after) if !equal(after, before) => {
                let why = format!("existing ephemeral containers {} may not be changed\n", quote(name));
                report.forbidden(&path, why);
            }
            Some(_) => {}
        }
    }
}

fn shared(report: &mut Report, new: &Value, old: &Value) {
    let path = Path::new("metadata");
    metadata::update(report, &new["metadata"], &old["metadata"], &path);
    metadata_and_spec(report, new);
    let (after, before) = (&new["metadata"]["annotations"], &old["metadata"]["annotations"]);
    annotations::update(report, after, before, &path.child("annotations"));
}

/// From none to some, or to less. False when nothing more is worth saying.
fn deadline(report: &mut Report, new: &Value, old: &Value, path: &Path) -> bool {
    let (after, before) = (new.number("activeDeadlineSeconds"), old.number("activeDeadlineSeconds"));
    match (after, before) {
        (Some(after), _) if !(0..=i64::from(i32::MAX)).contains(&after) => {
            report.in_range(path, after, 0, i64::from(i32::MAX));
            false
        }
        (Some(after), Some(before)) if before < after => {
            report.invalid(path, after, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            report.invalid(path, Value::Null, "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

fn tolerations<'a>(report: &mut Report, new: &'a Value, old: &'a Value, path: &Path) {
    let without_seconds = ["key", "operator", "value", "effect"];
    let rest = |toleration: &'a Value| without_seconds.map(|name| toleration.text(name));
    let after: HashSet<_> = new.list("tolerations").iter().map(rest).collect();
    if !old.list("tolerations").iter().all(|before| after.contains(&rest(before))) {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        report.forbidden(path, why);
        return;
    }
    scheduling::tolerations(report, new.list("tolerations"), path);
}

fn scheduling_gates(report: &mut Report, new: &Value, old: &Value, path: &Path) {
    let before: HashSet<&str> = old.list("schedulingGates").iter().map(|gate| gate.text("name")).collect();
    for (index, gate) in new.list("schedulingGates").iter().enumerate() {
        let name = gate.text("name");
        if !before.contains(name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            report.forbidden(&path.index(index).child("name"), why);
        }
    }
}

/// Puts back what may change, so that what is left must be equal.
fn take_back(spec: &mut Value, old: &Value) {
    for list in ["containers", "initContainers"] {
        for (container, before) in
            spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().zip(old.list(list))
        {
            set(container, "image", &before["image"]);
        }
    }
    for name in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        set(spec, name, &old[name]);
    }
    let was_negative = old.number("terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0);
    if was_negative && spec.number("terminationGracePeriodSeconds") == Some(1) {
        set(spec, "terminationGracePeriodSeconds", &old["terminationGracePeriodSeconds"]);
    }
}

/// While gates hold a pod back, the choice of its node may become narrower.
fn node_choice(report: &mut Report, spec: &mut Value, old: &Value, path: &Path) {
    if spec["nodeSelector"] != old["nodeSelector"] {
        if old.entries("nodeSelector").any(|(key, value)| spec["nodeSelector"].get(key) != Some(value)) {
            let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            report.invalid(&path.child("nodeSelector"), spec["nodeSelector"].clone(), why);
        }
        set(spec, "nodeSelector", &old["nodeSelector"]);
    }
    let (after, before) = (spec["affinity"]["nodeAffinity"].clone(), &old["affinity"]["nodeAffinity"]);
    if after != *before {
        let path = path.child("affinity").child("nodeAffinity").child(REQUIRED).child("nodeSelectorTerms");
        node_affinity(report, &after[REQUIRED], &before[REQUIRED], &path);
        if !spec["affinity"].is_object() {
            set(spec, "affinity", &Value::Object(Map::new()));
        }
        if let Some(affinity) = spec.get_mut("affinity") {
            set(affinity, "nodeAffinity", before);
        }
        if old["affinity"].is_null() && spec["affinity"].as_object().is_some_and(Map::is_empty) {
            set(spec, "affinity", &Value::Null);
        }
    }
}

fn node_affinity(report: &mut Report, new: &Value, old: &Value, path: &Path) {
    let (after, before) = (new.list("nodeSelectorTerms"), old.list("nodeSelectorTerms"));
    if before.is_empty() {
        return;
    }
    if after.len() != before.len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        report.invalid(path, new["nodeSelectorTerms"].clone(), why);
        return;
    }
    for (index, (after, before)) in after.iter().zip(before).enumerate() {
        let lists = ["matchExpressions", "matchFields"];
        let was_empty = lists.iter().all(|list| before.list(list).is_empty());
        let is_empty = lists.iter().all(|list| after.list(list).is_empty());
        let grown = lists.iter().all(|list| after.list(list).starts_with(before.list(list)));
        if (was_empty && !is_empty) || !grown {
            let why = "only additions are allowed (no mutations or deletions)";
            report.invalid(&path.index(index), after.clone(), why);
        }
    }
}

/// Sets a field, or removes it when there is nothing to set.
fn set(object: &mut Value, name: &str, value: &Value) {
    let Some(fields) = object.as_object_mut() else { return };
    if value.is_null() {
        fields.shift_remove(name);
    } else {
        fields.insert(name.to_owned(), value.clone());
    }
}

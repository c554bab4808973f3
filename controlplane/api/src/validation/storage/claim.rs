//! PersistentVolumeClaims, also as templates within pods.

use serde_json::{Map, Value, json};

use super::super::fields::Fields;
use super::super::labels;
use super::super::report::Report;
use super::{basic_amount, class_name, known_modes, positive_amount, volume_mode};
use crate::field::Path;
use crate::quantity::Quantity;

const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const ONLY_SIZE: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
const RESIZE_STATES: &[&str] = &[
    "ControllerResizeFailed",
    "ControllerResizeInProgress",
    "NodeResizeFailed",
    "NodeResizeInProgress",
    "NodeResizePending",
];

pub(in super::super) fn claim(report: &mut Report, claim: &Value) {
    claim_spec(report, &claim["spec"], &Path::new("spec"));
}

/// What is claimed.
pub(in super::super) fn claim_spec(report: &mut Report, spec: &Value, path: &Path) {
    let modes_path = path.child("accessModes");
    if spec.list("accessModes").is_empty() {
        report.required(&modes_path, "at least 1 access mode is required");
    }
    labels::selector(report, &spec["selector"], &path.child("selector"));
    known_modes(report, spec, &modes_path);
    // Not the path of the field: upstream's.
    let storage = path.child("resources").key("storage");
    match spec["resources"]["requests"].part("storage") {
        None => report.required(&storage, ""),
        Some(amount) => positive_amount(report, amount, &storage),
    }
    class_name(report, spec, "storageClassName", path);
    volume_mode(report, spec, path);
    data_sources(report, spec, path);
    class_name(report, spec, "volumeAttributesClassName", path);
}

fn data_sources(report: &mut Report, spec: &Value, path: &Path) {
    let (source, reference) = (spec.part("dataSource"), spec.part("dataSourceRef"));
    for (name, part) in [("dataSource", source), ("dataSourceRef", reference)] {
        if let Some(part) = part {
            data_source(report, part, &path.child(name));
        }
    }
    let (Some(source), Some(reference)) = (source, reference) else { return };
    // The value that upstream shows is a path.
    let shown = json!({});
    if !reference.text("namespace").is_empty() {
        report.invalid(path, shown, "may not be specified when dataSourceRef.namespace is specified");
    } else if ["apiGroup", "kind", "name"].iter().any(|name| source.part(name) != reference.part(name)) {
        report.invalid(path, shown, "must match dataSourceRef");
    }
}

fn data_source(report: &mut Report, source: &Value, path: &Path) {
    for name in ["name", "kind"] {
        if source.text(name).is_empty() {
            report.required(&path.child(name), "");
        }
    }
    let (group, kind) = (source.text("apiGroup"), source.text("kind"));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        report.invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
    }
    if !group.is_empty() {
        report.dns_subdomain(&path.child("apiGroup"), group);
    }
    if !source.text("namespace").is_empty() {
        report.dns_label(&path.child("namespace"), source.text("namespace"));
    }
}

pub(in super::super) fn claim_update(report: &mut Report, new: &Value, old: &Value) {
    let path = Path::new("spec");
    class_annotation(report, new, old);
    if compared(new, old, true) != compared(old, old, false) {
        report.forbidden(&path, ONLY_SIZE);
    }
    let asked = |claim: &Value| claim["spec"]["resources"]["requests"].quantity("storage");
    if let (Some(after), Some(before)) = (asked(new), asked(old))
        && after < before
        // Growing that failed may be taken back, as far as the volume has really grown.
        && old["status"]["capacity"].quantity("storage").unwrap_or(Quantity::ZERO) >= after
    {
        let path = path.child("resources").child("requests").child("storage");
        report.forbidden(&path, "field can not be less than status.capacity");
    }
    report.immutable(&Path::new("volumeMode"), &new["spec"]["volumeMode"], &old["spec"]["volumeMode"]);
    let class = "volumeAttributesClassName";
    if old["spec"].part(class).is_some() {
        match new["spec"].part(class).map(|class| class == "") {
            None => report.forbidden(&path.child(class), "update from non-nil value to nil is forbidden"),
            Some(true) => {
                let why = "update from non-nil value to an empty string is forbidden";
                report.forbidden(&path.child(class), why);
            }
            Some(false) => {}
        }
    }
}

/// The class as an annotation stays, unless the field takes it over.
fn class_annotation(report: &mut Report, new: &Value, old: &Value) {
    let annotation = |claim: &Value| claim["metadata"]["annotations"].get(OLD_CLASS).cloned();
    let class = |claim: &Value| claim["spec"].part("storageClassName").cloned();
    let (after, before) = (annotation(new), annotation(old));
    let taken_over = before.is_some()
        && class(old).is_none()
        && class(new) == before
        && (after.is_none() || after == before);
    if !taken_over && after != before {
        let path = Path::new("metadata").child("annotations").key(OLD_CLASS);
        report.immutable(&path, &after.unwrap_or_else(|| json!("")), &before.unwrap_or_else(|| json!("")));
    }
}

/// What of a claim must be as it was in `old`; `is_new` where it is the later one.
fn compared(claim: &Value, old: &Value, is_new: bool) -> Value {
    let mut spec = claim["spec"].clone();
    let bound = claim["status"].text("phase") == "Bound" || old["status"].text("phase") == "Bound";
    let Some(fields) = spec.as_object_mut() else { return spec };
    fields.shift_remove("volumeAttributesClassName");
    both_sources(fields);
    if bound && let Some(requests) = fields.get_mut("resources").and_then(|all| all.get_mut("requests")) {
        requests.as_object_mut().map(|requests| requests.shift_remove("storage"));
    }
    // A claim gets its volume and, later than itself, a class.
    if old["spec"].text("volumeName").is_empty() {
        fields.shift_remove("volumeName");
    }
    let annotation = old["metadata"]["annotations"].get(OLD_CLASS);
    let class = if is_new { fields.get("storageClassName") } else { None };
    if old["spec"].part("storageClassName").is_none()
        && (class.is_none() || annotation.is_none() || class == annotation)
    {
        fields.shift_remove("storageClassName");
    }
    spec
}

/// One field for the source stands for the other: a claim may have been stored with one of them.
fn both_sources(fields: &mut Map<String, Value>) {
    match (fields.get("dataSource").cloned(), fields.get("dataSourceRef").cloned()) {
        (Some(source), None) => drop(fields.insert("dataSourceRef".into(), source)),
        (None, Some(reference)) if reference.text("namespace").is_empty() => {
            fields.insert("dataSource".into(), reference);
        }
        _ => {}
    }
}

/// Status of a claim.
pub(in super::super) fn claim_status(report: &mut Report, claim: &Value) {
    if claim["spec"].list("accessModes").is_empty() {
        // The capital letter is upstream's.
        report.required(&Path::new("Spec").child("accessModes"), "");
    }
    let (status, path) = (&claim["status"], Path::new("status"));
    for (name, amount) in status.entries("capacity") {
        basic_amount(report, amount, &path.child("capacity").key(name));
    }
    let states = path.child("allocatedResourceStatus");
    for (name, state) in status.entries("allocatedResourceStatuses") {
        resource_key(report, name, &states);
        if !RESIZE_STATES.contains(&state.as_str().unwrap_or_default()) {
            report.not_supported(&states, name, RESIZE_STATES);
        }
    }
    let allocated = path.child("allocatedResources");
    for (name, amount) in status.entries("allocatedResources") {
        let before = report.len();
        resource_key(report, name, &allocated);
        if report.len() == before {
            basic_amount(report, amount, &allocated.key(name));
        }
    }
}

/// Of Kubernetes' own resources a claim has only storage.
fn resource_key(report: &mut Report, name: &str, path: &Path) {
    let before = report.len();
    report.qualified_name(path, name);
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    if report.len() == before && native && name != "storage" {
        report.not_supported(path, name, &["storage"]);
    }
}

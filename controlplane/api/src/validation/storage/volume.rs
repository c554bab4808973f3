//! PersistentVolumes, and the specification of one within a VolumeAttachment.

use serde_json::Value;

use super::super::fields::Fields;
use super::super::pod;
use super::super::report::Report;
use super::{basic_amount, class_name, modes, positive_amount, source, volume_mode};
use crate::field::Path;

const RECLAIM_POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];
/// Of a specification that stands within a VolumeAttachment.
const INLINE: &str = "in the context of inline volumes";

pub(in super::super) fn volume(report: &mut Report, volume: &Value) {
    let (spec, path) = (&volume["spec"], Path::new("spec"));
    modes(report, spec, &path.child("accessModes"), "");
    capacity(report, spec, &path.child("capacity"));
    let policy = spec.text("persistentVolumeReclaimPolicy");
    if !policy.is_empty() && !RECLAIM_POLICIES.contains(&policy) {
        report.not_supported(&path.child("persistentVolumeReclaimPolicy"), policy, RECLAIM_POLICIES);
    }
    let bound_to_nodes = node_affinity(report, spec, &path.child("nodeAffinity"));
    source::all(report, spec, bound_to_nodes, &path);
    if spec["hostPath"].text("path").trim_end_matches('/').is_empty()
        && !spec["hostPath"].text("path").is_empty()
        && policy == "Recycle"
    {
        let path = path.child("persistentVolumeReclaimPolicy");
        report.forbidden(&path, "may not be 'recycle' for a hostPath mount of '/'");
    }
    class_name(report, spec, "storageClassName", &path);
    volume_mode(report, spec, &path);
    attributes_class_name(report, spec, &path);
}

fn capacity(report: &mut Report, spec: &Value, path: &Path) {
    let count = spec.entries("capacity").count();
    if count == 0 {
        report.required(path, "");
    }
    if spec["capacity"].get("storage").is_none() || count > 1 {
        report.not_supported(path, spec["capacity"].clone(), &["storage"]);
    }
    for (name, amount) in spec.entries("capacity") {
        let path = path.key(name);
        basic_amount(report, amount, &path);
        positive_amount(report, amount, &path);
    }
}

/// Whether the volume says which nodes it can be reached from.
fn node_affinity(report: &mut Report, spec: &Value, path: &Path) -> bool {
    let Some(affinity) = spec.part("nodeAffinity") else { return false };
    let path = path.child("required");
    let Some(required) = affinity.part("required") else {
        report.required(&path, "must specify required node constraints");
        return false;
    };
    pod::node_selector(report, required, &path);
    true
}

fn attributes_class_name(report: &mut Report, spec: &Value, path: &Path) {
    if spec.part("volumeAttributesClassName").is_none() {
        return;
    }
    if spec.text("volumeAttributesClassName").is_empty() {
        report.required(&path.child("volumeAttributesClassName"), "an empty string is disallowed");
    }
    class_name(report, spec, "volumeAttributesClassName", path);
    if spec.part("csi").is_none() {
        report.required(&path.child("csi"), "has to be specified when using volumeAttributesClassName");
    }
}

/// A specification within a VolumeAttachment: what a driver needs, and nothing that a claim could ask for.
pub(super) fn inline(report: &mut Report, spec: &Value, path: &Path) {
    for name in ["claimRef", "capacity"] {
        if spec.part(name).is_some_and(|part| !super::super::fields::is_empty(part)) {
            report.forbidden(&path.child(name), format!("may not be specified {INLINE}"));
        }
    }
    if spec.part("csi").is_none() {
        report.required(&path.child("csi"), &format!("has to be specified {INLINE}"));
    }
    modes(report, spec, &path.child("accessModes"), "");
    let policy = spec.text("persistentVolumeReclaimPolicy");
    if !matches!(policy, "" | "Retain") {
        let path = path.child("persistentVolumeReclaimPolicy");
        report.forbidden(&path, format!("may only be Retain {INLINE}"));
    }
    if spec.part("nodeAffinity").is_some() {
        report.forbidden(&path.child("nodeAffinity"), format!("may not be specified {INLINE}"));
    }
    source::all(report, spec, false, path);
    if !spec.text("storageClassName").is_empty() {
        report.forbidden(&path.child("storageClassName"), format!("may not be specified {INLINE}"));
    }
    if !matches!(spec.text("volumeMode"), "" | "Filesystem") {
        let why = format!("may not specify volumeMode other than Filesystem {INLINE}");
        report.forbidden(&path.child("volumeMode"), why);
    }
}

pub(in super::super) fn volume_update(report: &mut Report, new: &Value, old: &Value) {
    let (after, before, path) = (&new["spec"], &old["spec"], Path::new("spec"));
    if kept_sources(after, before) != source::given(before) {
        // The odd path is upstream's.
        let path = path.child("persistentvolumesource");
        report.forbidden(&path, "spec.persistentvolumesource is immutable after creation");
    }
    report.immutable(&Path::new("volumeMode"), &after["volumeMode"], &before["volumeMode"]);
    if before.part("nodeAffinity").is_some() {
        report.immutable(&Path::new("nodeAffinity"), &after["nodeAffinity"], &before["nodeAffinity"]);
    }
    let class = "volumeAttributesClassName";
    if before.part(class).is_some() && after.part(class).is_none() {
        report.forbidden(&path.child(class), "update from non-nil value to nil is forbidden");
    }
}

/// The sources as an update compares them: a driver's secret for growing may come later.
fn kept_sources(after: &Value, before: &Value) -> Vec<(String, Value)> {
    let mut sources = source::given(after);
    if before.part("csi").is_some() && before["csi"].part("controllerExpandSecretRef").is_none() {
        for (_, source) in sources.iter_mut().filter(|(name, _)| name == "csi") {
            source.as_object_mut().map(|fields| fields.shift_remove("controllerExpandSecretRef"));
        }
    }
    sources
}

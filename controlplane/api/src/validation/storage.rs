//! Volumes, claims, their classes, drivers and attachments, and claims for devices.

use serde_json::Value;

use super::fields::{Fields, items, parse_quantity};
use super::labels;
use super::report::Report;
use crate::field::Path;

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];
/// Fields of a PersistentVolumeSpec that are no source.
const NO_SOURCE: &[&str] = &[
    "capacity",
    "accessModes",
    "claimRef",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "mountOptions",
    "volumeMode",
    "nodeAffinity",
    "volumeAttributesClassName",
];

fn sources(spec: &Value) -> Vec<(&str, &Value)> {
    let fields = spec.as_object().into_iter().flatten();
    fields.map(|(name, value)| (name.as_str(), value)).filter(|(name, _)| !NO_SOURCE.contains(name)).collect()
}

pub(super) fn volume(report: &mut Report, volume: &Value) {
    let (spec, path) = (&volume["spec"], Path::new("spec"));
    modes(report, spec, &path.child("accessModes"), "");
    let capacity = path.child("capacity");
    if spec.entries("capacity").next().is_none() {
        report.required(&capacity, "");
    } else if spec["capacity"].get("storage").is_none() || spec.entries("capacity").count() > 1 {
        report.not_supported(&capacity, spec["capacity"].clone(), &["storage"]);
    }
    for (name, amount) in spec.entries("capacity") {
        if let Some(amount) = parse_quantity(amount).filter(|amount| amount.sign() <= 0) {
            report.invalid(&capacity.key(name), amount.to_string(), "must be greater than zero");
        }
    }
    let policy = spec.text("persistentVolumeReclaimPolicy");
    if !policy.is_empty() {
        let known = &["Delete", "Recycle", "Retain"];
        report.one_of(&path.child("persistentVolumeReclaimPolicy"), policy, known);
    }
    match sources(spec).as_slice() {
        [] => report.required(&path, "must specify a volume type"),
        [_] => {}
        [_, others @ ..] => {
            for (name, _) in others {
                report.forbidden(&path.child(name), "may not specify more than 1 volume type");
            }
        }
    }
    if let Some(local) = spec.part("local") {
        if local.text("path").is_empty() {
            report.required(&path.child("local").child("path"), "");
        }
        if spec["nodeAffinity"]["required"].is_null() {
            report.required(&path.child("nodeAffinity"), "Local volume requires node affinity");
        }
    }
    if let Some(host) = spec.part("hostPath")
        && host.text("path").is_empty()
    {
        report.required(&path.child("hostPath").child("path"), "");
    }
    class_and_mode(report, spec, &path);
}

fn modes(report: &mut Report, of: &Value, path: &Path, missing: &str) {
    if of.list("accessModes").is_empty() {
        report.required(path, missing);
    }
    for mode in of.texts("accessModes") {
        if !MODES.contains(&mode) {
            report.not_supported(path, mode, MODES);
        }
    }
    let alone = of.texts("accessModes").any(|mode| mode == "ReadWriteOncePod");
    if alone && of.list("accessModes").len() > 1 {
        report.forbidden(path, "may not use ReadWriteOncePod with other access modes");
    }
}

fn class_and_mode(report: &mut Report, spec: &Value, path: &Path) {
    if !spec.text("storageClassName").is_empty() {
        report.dns_subdomain(&path.child("storageClassName"), spec.text("storageClassName"));
    }
    let mode = spec.text("volumeMode");
    if !mode.is_empty() && !VOLUME_MODES.contains(&mode) {
        report.not_supported(&path.child("volumeMode"), mode, VOLUME_MODES);
    }
}

pub(super) fn volume_update(report: &mut Report, new: &Value, old: &Value) {
    let path = Path::new("spec");
    if sources(&new["spec"]) != sources(&old["spec"]) {
        // The odd path is upstream's.
        let path = path.child("persistentvolumesource");
        report.forbidden(&path, "spec.persistentvolumesource is immutable after creation");
    }
    report.immutable(&path.child("volumeMode"), &new["spec"]["volumeMode"], &old["spec"]["volumeMode"]);
}

pub(super) fn claim(report: &mut Report, claim: &Value) {
    claim_spec(report, &claim["spec"], &Path::new("spec"));
}

fn claim_spec(report: &mut Report, spec: &Value, path: &Path) {
    modes(report, spec, &path.child("accessModes"), "at least 1 access mode is required");
    labels::selector(report, &spec["selector"], &path.child("selector"));
    let storage = path.child("resources");
    match spec["resources"]["requests"].quantity("storage") {
        None => report.required(&storage.key("storage"), ""),
        Some(amount) if amount.sign() <= 0 => {
            let path = storage.child("requests").key("storage");
            report.invalid(&path, amount.to_string(), "must be greater than zero");
        }
        Some(_) => {}
    }
    class_and_mode(report, spec, path);
}

pub(super) fn claim_update(report: &mut Report, new: &Value, old: &Value) {
    let path = Path::new("spec");
    let bound = old["status"].text("phase") == "Bound";
    let rest = |claim: &Value| {
        let mut spec = claim["spec"].clone();
        if let Some(fields) = spec.as_object_mut() {
            if bound {
                fields.shift_remove("volumeAttributesClassName");
                if let Some(requests) = fields.get_mut("resources").and_then(|r| r.get_mut("requests")) {
                    requests.as_object_mut().map(|requests| requests.shift_remove("storage"));
                }
            }
            // An unbound claim gets its volume and, later than itself, a class.
            if old["spec"].text("volumeName").is_empty() {
                fields.shift_remove("volumeName");
            }
            if old["spec"].part("storageClassName").is_none() {
                fields.shift_remove("storageClassName");
            }
        }
        spec
    };
    if rest(new) != rest(old) {
        let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        report.forbidden(&path, why);
    }
    let asked = |claim: &Value| claim["spec"]["resources"]["requests"].quantity("storage");
    if let (Some(after), Some(before)) = (asked(new), asked(old))
        && after < before
    {
        let path = path.child("resources").child("requests").child("storage");
        report.forbidden(&path, "field can not be less than status.capacity");
    }
}

pub(super) fn class(report: &mut Report, class: &Value) {
    if class.text("provisioner").is_empty() {
        report.required(&Path::new("provisioner"), "");
    } else {
        report.qualified_name(&Path::new("provisioner"), &class.text("provisioner").to_lowercase());
    }
    let policy = class.text("reclaimPolicy");
    if !policy.is_empty() && !matches!(policy, "Delete" | "Retain") {
        report.not_supported(&Path::new("reclaimPolicy"), policy, &["Delete", "Retain"]);
    }
    let mode = class.text("volumeBindingMode");
    match mode {
        "" => report.required(&Path::new("volumeBindingMode"), ""),
        "Immediate" | "WaitForFirstConsumer" => {}
        _ => report.not_supported(
            &Path::new("volumeBindingMode"),
            mode,
            &["Immediate", "WaitForFirstConsumer"],
        ),
    }
}

pub(super) fn class_update(report: &mut Report, new: &Value, old: &Value) {
    for name in ["parameters", "provisioner", "reclaimPolicy"] {
        if new[name] != old[name] {
            report.forbidden(&Path::new(name), format!("updates to {name} are forbidden."));
        }
    }
    report.immutable(&Path::new("volumeBindingMode"), &new["volumeBindingMode"], &old["volumeBindingMode"]);
}

pub(super) fn attributes_class(report: &mut Report, class: &Value) {
    if class.text("driverName").is_empty() {
        report.required(&Path::new("driverName"), "");
    }
    if class.entries("parameters").next().is_none() {
        report.required(&Path::new("parameters"), "must contain at least one key/value pair");
    }
}

pub(super) fn attributes_class_update(report: &mut Report, new: &Value, old: &Value) {
    for name in ["driverName", "parameters"] {
        if new[name] != old[name] {
            report.forbidden(&Path::new(name), format!("updates to {name} are forbidden."));
        }
    }
}

pub(super) fn driver_update(report: &mut Report, new: &Value, old: &Value) {
    for name in ["attachRequired", "volumeLifecycleModes"] {
        report.immutable(&Path::new("spec").child(name), &new["spec"][name], &old["spec"][name]);
    }
}

pub(super) fn csi_node(report: &mut Report, node: &Value) {
    let mut seen = Vec::new();
    for (path, driver) in items(&node["spec"], "drivers", &Path::new("spec")) {
        let name = driver.text("name");
        if name.is_empty() {
            report.required(&path.child("name"), "");
        }
        if driver.text("nodeID").is_empty() {
            report.required(&path.child("nodeID"), "");
        }
        if seen.contains(&name) {
            report.duplicate(&path.child("name"), name);
        }
        seen.push(name);
    }
}

pub(super) fn capacity(report: &mut Report, capacity: &Value) {
    if capacity.text("storageClassName").is_empty() {
        report.required(&Path::new("storageClassName"), "");
    }
    labels::selector(report, &capacity["nodeTopology"], &Path::new("nodeTopology"));
}

pub(super) fn capacity_update(report: &mut Report, new: &Value, old: &Value) {
    for name in ["nodeTopology", "storageClassName"] {
        report.immutable(&Path::new(name), &new[name], &old[name]);
    }
}

pub(super) fn attachment(report: &mut Report, attachment: &Value) {
    let (spec, path) = (&attachment["spec"], Path::new("spec"));
    for name in ["attacher", "nodeName"] {
        if spec.text(name).is_empty() {
            report.required(&path.child(name), "");
        }
    }
    let source = path.child("source");
    let (named, inline) =
        (spec["source"].part("persistentVolumeName"), spec["source"].part("inlineVolumeSpec"));
    match (named, inline) {
        (None, None) => {
            report.required(&source, "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
        }
        (Some(_), Some(_)) => {
            report
                .forbidden(&source, "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
        }
        _ => {}
    }
}

pub(super) fn attachment_update(report: &mut Report, new: &Value, old: &Value) {
    report.immutable(&Path::new("spec"), &new["spec"], &old["spec"]);
}

/// What a claim for devices asks for stays as it is.
pub(super) fn device_claim_update(report: &mut Report, new: &Value, old: &Value) {
    report.immutable(&Path::new("spec"), &new["spec"], &old["spec"]);
}

pub(super) fn device_slice(report: &mut Report, slice: &Value) {
    let (spec, path) = (&slice["spec"], Path::new("spec"));
    if spec.text("driver").is_empty() {
        report.required(&path.child("driver"), "");
    }
    if spec["pool"].text("name").is_empty() {
        report.required(&path.child("pool").child("name"), "");
    }
    let places = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];
    if !places.iter().any(|name| spec.part(name).is_some()) {
        let why =
            "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
        report.required(&path, why);
    }
}

pub(super) fn device_slice_update(report: &mut Report, new: &Value, old: &Value) {
    for name in ["nodeName", "driver"] {
        report.immutable(&Path::new("spec").child(name), &new["spec"][name], &old["spec"][name]);
    }
    let (after, before) = (&new["spec"]["pool"]["name"], &old["spec"]["pool"]["name"]);
    report.immutable(&Path::new("spec").child("pool").child("name"), after, before);
}

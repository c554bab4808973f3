//! CSI drivers, what nodes say of them, how much they have left, and attachments.

use std::collections::HashSet;

use serde_json::Value;

use super::super::fields::{Fields, items, parse_quantity};
use super::super::report::Report;
use super::super::{labels, request};
use super::volume;
use crate::field::Path;
use crate::names;

const DRIVER_NAME_MAX: usize = 63;
const NODE_ID_MAX: usize = 256;
const SHORTEST_PERIOD_SECONDS: i64 = 10;
const GROUP_POLICIES: &[&str] = &["File", "None", "ReadWriteOnceWithFSType"];
const LIFECYCLE_MODES: &[&str] = &["Persistent", "Ephemeral"];
/// Keys and values of what a driver says of an attachment.
const ATTACHMENT_METADATA_MAX: usize = 256 * 1024;
/// The message of a failed attachment.
const ERROR_MESSAGE_MAX: usize = 1024;

/// The name of a driver, wherever it stands.
pub(in super::super) fn driver_name(report: &mut Report, name: &str, path: &Path) {
    if name.is_empty() {
        report.required(path, "");
    }
    if name.len() > DRIVER_NAME_MAX {
        report.too_long(path, DRIVER_NAME_MAX);
    }
    report.complaints(path, name, names::dns_subdomain(&name.to_lowercase()));
}

pub(in super::super) fn driver(report: &mut Report, driver: &Value) {
    let (spec, path) = (&driver["spec"], Path::new("spec"));
    // The first name is upstream's.
    for (field, shown) in [
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
    ] {
        if spec.part(field).is_none() {
            report.required(&path.child(shown), "");
        }
    }
    let policy = spec.text("fsGroupPolicy");
    if spec.part("fsGroupPolicy").is_some() && !GROUP_POLICIES.contains(&policy) {
        report.not_supported(&path.child("fsGroupPolicy"), policy, GROUP_POLICIES);
    }
    let mut audiences = HashSet::new();
    for (path, token) in items(spec, "tokenRequests", &path) {
        if !audiences.insert(token.text("audience")) {
            report.duplicate(&path.child("audience"), token.text("audience"));
            continue;
        }
        request::token_seconds(report, token, &path);
    }
    for mode in spec.texts("volumeLifecycleModes").filter(|mode| !LIFECYCLE_MODES.contains(mode)) {
        report.not_supported(&path.child("volumeLifecycleModes"), mode, LIFECYCLE_MODES);
    }
    if spec.part("seLinuxMount").is_none() {
        report.required(&path.child("seLinuxMount"), "");
    }
    let period = spec.number("nodeAllocatableUpdatePeriodSeconds");
    if let Some(period) = period.filter(|period| *period < SHORTEST_PERIOD_SECONDS) {
        let path = path.child("nodeAllocatableUpdatePeriodSeconds");
        report.invalid(&path, period, "must be greater than or equal to 10 seconds");
    }
}

pub(in super::super) fn driver_update(report: &mut Report, new: &Value, old: &Value) {
    let path = Path::new("spec");
    for (field, shown) in
        [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")]
    {
        report.immutable(&path.child(shown), &new["spec"][field], &old["spec"][field]);
    }
}

pub(in super::super) fn csi_node(report: &mut Report, node: &Value) {
    let mut seen = HashSet::new();
    for (path, driver) in items(&node["spec"], "drivers", &Path::new("spec")) {
        let (name, id) = (driver.text("name"), driver.text("nodeID"));
        driver_name(report, name, &path.child("name"));
        if id.is_empty() {
            report.required(&path.child("nodeID"), "");
        }
        if id.len() > NODE_ID_MAX {
            report.invalid(&path.child("nodeID"), id, format!("must be {NODE_ID_MAX} characters or less"));
        }
        report.non_negative(&path.child("allocatable").child("count"), driver["allocatable"].number("count"));
        if !seen.insert(name) {
            report.duplicate(&path.child("name"), name);
        }
        let mut keys = HashSet::new();
        for key in driver.texts("topologyKeys") {
            if key.is_empty() {
                report.required(&path, "");
            }
            if !keys.insert(key) {
                report.duplicate(&path, key);
            }
            report.qualified_name(&path, key);
        }
    }
}

/// What a node has said of a driver stays, but for how many volumes fit.
pub(in super::super) fn csi_node_update(report: &mut Report, new: &Value, old: &Value) {
    let fixed = |driver: &Value| {
        let mut driver = driver.clone();
        driver.as_object_mut().map(|fields| fields.shift_remove("allocatable"));
        driver
    };
    for before in old["spec"].list("drivers") {
        let same = new["spec"].list("drivers").iter().filter(|new| new.text("name") == before.text("name"));
        for after in same {
            report.immutable(&Path::new("spec").child("drivers"), &fixed(after), &fixed(before));
        }
    }
}

pub(in super::super) fn capacity(report: &mut Report, capacity: &Value) {
    labels::selector(report, &capacity["nodeTopology"], &Path::new("nodeTopology"));
    report.dns_subdomain(&Path::new("storageClassName"), capacity.text("storageClassName"));
    if let Some(amount) = capacity.part("capacity").and_then(parse_quantity) {
        report.non_negative_quantity(&Path::new("capacity"), &amount);
    }
}

pub(in super::super) fn capacity_update(report: &mut Report, new: &Value, old: &Value) {
    for name in ["nodeTopology", "storageClassName"] {
        report.immutable(&Path::new(name), &new[name], &old[name]);
    }
}

/// A new attachment.
pub(in super::super) fn attachment(report: &mut Report, attachment: &Value) {
    let (spec, path) = (&attachment["spec"], Path::new("spec"));
    if spec.text("attacher").is_empty() {
        report.required(&path.child("attacher"), "");
    }
    let from = path.child("source");
    match (spec["source"].part("persistentVolumeName"), spec["source"].part("inlineVolumeSpec")) {
        (None, None) => {
            report.required(&from, "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
        }
        (Some(_), Some(_)) => {
            report.forbidden(&from, "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
        }
        (Some(name), None) if name == "" => {
            let why = "must specify non empty persistentVolumeName";
            report.required(&from.child("persistentVolumeName"), why);
        }
        (Some(_), None) => {}
        (None, Some(inline)) => volume::inline(report, inline, &from.child("inlineVolumeSpec")),
    }
    report.dns_subdomain(&path.child("nodeName"), spec.text("nodeName"));
    attachment_status(report, attachment);
    driver_name(report, spec.text("attacher"), &path.child("attacher"));
    if spec["source"].part("persistentVolumeName").is_some() {
        let name = spec["source"].text("persistentVolumeName");
        report.dns_subdomain(&from.child("persistentVolumeName"), name);
    }
}

/// What a driver says of an attachment.
pub(in super::super) fn attachment_status(report: &mut Report, attachment: &Value) {
    let (status, path) = (&attachment["status"], Path::new("status"));
    let size = |(key, value): (&str, &Value)| key.len() + value.as_str().map_or(0, str::len);
    if status.entries("attachmentMetadata").map(size).sum::<usize>() > ATTACHMENT_METADATA_MAX {
        report.too_long(&path.child("attachmentMetadata"), ATTACHMENT_METADATA_MAX);
    }
    for name in ["attachError", "detachError"] {
        let (error, path) = (&status[name], path.child(name));
        if error.text("message").len() > ERROR_MESSAGE_MAX {
            report.too_long(&path.child("message"), ERROR_MESSAGE_MAX);
        }
        if let Some(code) = error.number("errorCode").filter(|code| *code < 0) {
            report.in_range(&path.child("errorCode"), code, 0, i64::from(i32::MAX));
        }
    }
}

pub(in super::super) fn attachment_update(report: &mut Report, new: &Value, old: &Value) {
    report.immutable(&Path::new("spec"), &new["spec"], &old["spec"]);
}

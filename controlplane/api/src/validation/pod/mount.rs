//! Where containers mount volumes and see block devices.

use std::collections::HashSet;

use serde_json::Value;

use super::super::fields::{Fields, items};
use super::super::report::Report;
use super::{Whole, volume};
use crate::field::Path;

const PROPAGATIONS: &[&str] = &["Bidirectional", "HostToContainer", "None"];

/// `volumeMounts`. Some complaints name the list, not the item: those are upstream's paths.
pub(super) fn mounts(report: &mut Report, whole: &Whole<'_>, container: &Value, path: &Path) {
    let list = path.child("volumeMounts");
    let devices = container.list("volumeDevices").iter();
    let (device_names, device_paths): (HashSet<_>, HashSet<_>) =
        devices.map(|device| (device.text("name"), device.text("devicePath"))).unzip();
    let mut points = HashSet::new();
    for (path, mount) in items(container, "volumeMounts", path) {
        let (name, point) = (mount.text("name"), mount.text("mountPath"));
        if name.is_empty() {
            report.required(&path.child("name"), "");
        }
        if whole.volume(name).is_none() {
            report.not_found(&path.child("name"), name);
        }
        if point.is_empty() {
            report.required(&path.child("mountPath"), "");
        }
        if !points.insert(point) {
            report.invalid(&path.child("mountPath"), point, "must be unique");
        }
        if device_names.contains(name) {
            report.invalid(&path.child("name"), name, "must not already exist in volumeDevices");
        }
        if device_paths.contains(point) {
            let why = "must not already exist as a path in volumeDevices";
            report.invalid(&path.child("mountPath"), point, why);
        }
        sub_paths(report, mount, &path, &list);
        if mount.part("mountPropagation").is_some() {
            propagation(report, mount, container, &list.child("mountPropagation"));
        }
        recursive_read_only(report, mount, &list.child("recursiveReadOnly"));
    }
}

fn sub_paths(report: &mut Report, mount: &Value, path: &Path, list: &Path) {
    let (plain, expression) = (mount.text("subPath"), mount.text("subPathExpr"));
    if !plain.is_empty() {
        volume::descending_path(report, &list.child("subPath"), plain);
    }
    if !expression.is_empty() {
        if !plain.is_empty() {
            let why = "subPathExpr and subPath are mutually exclusive";
            report.invalid(&path.child("subPathExpr"), expression, why);
        }
        volume::descending_path(report, &list.child("subPathExpr"), expression);
    }
}

fn propagation(report: &mut Report, mount: &Value, container: &Value, path: &Path) {
    let mode = mount.text("mountPropagation");
    if !PROPAGATIONS.contains(&mode) {
        report.not_supported(path, mode, PROPAGATIONS);
    }
    if mode == "Bidirectional" && !container["securityContext"].flag("privileged") {
        report.forbidden(path, "Bidirectional mount propagation is available only to privileged containers");
    }
}

fn recursive_read_only(report: &mut Report, mount: &Value, path: &Path) {
    match mount.part("recursiveReadOnly").and_then(Value::as_str) {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !mount.flag("readOnly") {
                report.forbidden(path, "may only be specified when readOnly is true");
            }
            if !matches!(mount.text("mountPropagation"), "" | "None") {
                let why = "may only be specified when mountPropagation is None or not specified";
                report.forbidden(path, why);
            }
        }
        Some(other) => report.not_supported(path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

/// `volumeDevices`.
pub(super) fn devices(report: &mut Report, whole: &Whole<'_>, container: &Value, path: &Path) {
    let mounts = container.list("volumeMounts").iter();
    let (mount_names, mount_points): (HashSet<_>, HashSet<_>) =
        mounts.map(|mount| (mount.text("name"), mount.text("mountPath"))).unzip();
    let (mut names, mut paths) = (HashSet::new(), HashSet::new());
    for (path, device) in items(container, "volumeDevices", path) {
        let (name, file) = (device.text("name"), device.text("devicePath"));
        let (name_path, file_path) = (path.child("name"), path.child("devicePath"));
        if name.is_empty() {
            report.required(&name_path, "");
        }
        if names.contains(name) {
            report.invalid(&name_path, name, "must be unique");
        }
        match whole.volume(name) {
            None => report.not_found(&name_path, name),
            Some(volume)
                if volume.part("persistentVolumeClaim").is_none() && volume.part("ephemeral").is_none() =>
            {
                let why =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                report.invalid(&name_path, name, why);
            }
            Some(_) => {}
        }
        if file.is_empty() {
            report.required(&file_path, "");
        }
        if paths.contains(file) {
            report.invalid(&file_path, file, "must be unique");
        }
        if volume::has_backsteps(file) {
            report.invalid(&file_path, file, "can not contain backsteps ('..')");
        } else {
            paths.insert(file);
        }
        if mount_names.contains(name) {
            report.invalid(&name_path, name, "must not already exist in volumeMounts");
        }
        if mount_points.contains(file) {
            report.invalid(&file_path, file, "must not already exist as a path in volumeMounts");
        }
        if !name.is_empty() {
            names.insert(name);
        }
    }
}

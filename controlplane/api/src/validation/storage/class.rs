//! StorageClasses and VolumeAttributesClasses.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::fields::{Fields, items};
use super::super::report::Report;
use crate::field::Path;

const MOST_PARAMETERS: usize = 512;
/// Keys and values of all parameters.
const PARAMETERS_MAX: usize = 256 * 1024;
const RECLAIM_POLICIES: &[&str] = &["Delete", "Retain"];
const BINDING_MODES: &[&str] = &["Immediate", "WaitForFirstConsumer"];

pub(in super::super) fn class(report: &mut Report, class: &Value) {
    provisioner(report, class.text("provisioner"), &Path::new("provisioner"));
    parameters(report, class, &Path::new("parameters"));
    let policy = class.text("reclaimPolicy");
    if !policy.is_empty() && !RECLAIM_POLICIES.contains(&policy) {
        report.not_supported(&Path::new("reclaimPolicy"), policy, RECLAIM_POLICIES);
    }
    let (mode, path) = (class.part("volumeBindingMode"), Path::new("volumeBindingMode"));
    match mode.map(|mode| mode.as_str().unwrap_or_default()) {
        None => report.required(&path, ""),
        Some(mode) if !BINDING_MODES.contains(&mode) => report.not_supported(&path, mode, BINDING_MODES),
        Some(_) => {}
    }
    topologies(report, class);
}

fn provisioner(report: &mut Report, name: &str, path: &Path) {
    if name.is_empty() {
        report.required(path, "");
    } else {
        report.qualified_name(path, &name.to_lowercase());
    }
}

fn parameters(report: &mut Report, class: &Value, path: &Path) {
    if class.entries("parameters").count() > MOST_PARAMETERS {
        return report.too_long(path, MOST_PARAMETERS);
    }
    let mut size = 0;
    for (key, value) in class.entries("parameters") {
        if key.is_empty() {
            report.invalid(path, key, "field can not be empty.");
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > PARAMETERS_MAX {
        report.too_long(path, PARAMETERS_MAX);
    }
}

/// Where volumes may be made: no term twice, no key twice in a term.
fn topologies(report: &mut Report, class: &Value) {
    let mut seen: BTreeSet<BTreeMap<&str, BTreeSet<&str>>> = BTreeSet::new();
    for (path, term) in items(class, "allowedTopologies", &Path::default()) {
        let mut keys = BTreeMap::new();
        for (path, expression) in items(term, "matchLabelExpressions", &path) {
            let (key, values) = (expression.text("key"), path.child("values"));
            if expression.list("values").is_empty() {
                report.required(&values, "");
            }
            let mut set = BTreeSet::new();
            for (index, value) in expression.texts("values").enumerate() {
                if !set.insert(value) {
                    report.duplicate(&values.index(index), value);
                }
            }
            report.qualified_name(&path.child("key"), key);
            if keys.insert(key, set).is_some() {
                report.duplicate(&path.child("key"), key);
            }
        }
        if keys.is_empty() || !seen.insert(keys) {
            report.duplicate(&path.child("matchLabelExpressions"), "");
        }
    }
}

pub(in super::super) fn class_update(report: &mut Report, new: &Value, old: &Value) {
    forbid_changes(report, new, old, &["parameters", "provisioner", "reclaimPolicy"]);
    report.immutable(&Path::new("volumeBindingMode"), &new["volumeBindingMode"], &old["volumeBindingMode"]);
}

pub(in super::super) fn attributes_class(report: &mut Report, class: &Value) {
    provisioner(report, class.text("driverName"), &Path::new("driverName"));
    parameters(report, class, &Path::new("parameters"));
    if class.entries("parameters").next().is_none() {
        report.required(&Path::new("parameters"), "must contain at least one key/value pair");
    }
}

pub(in super::super) fn attributes_class_update(report: &mut Report, new: &Value, old: &Value) {
    forbid_changes(report, new, old, &["driverName", "parameters"]);
}

fn forbid_changes(report: &mut Report, new: &Value, old: &Value, names: &[&str]) {
    for name in names.iter().filter(|name| new[**name] != old[**name]) {
        report.forbidden(&Path::new(name), format!("updates to {name} are forbidden."));
    }
}

//! Annotations that once were fields of pods, and must not contradict the fields that they became.

use std::collections::HashSet;

use serde_json::Value;

use super::super::fields::Fields;
use super::super::report::Report;
use super::{LISTS, MIRROR, containers, volume};
use crate::field::{Path, quote};

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const LOCALHOST: &str = "localhost/";

/// Values of known annotations.
pub(super) fn check(report: &mut Report, annotations: &Value, spec: &Value, path: &Path) {
    if let Some(value) = annotations.get(MIRROR)
        && spec.text("nodeName").is_empty()
    {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        report.invalid(&path.key(MIRROR), value.clone(), why);
    }
    if let Some(cost) = annotations.get(DELETION_COST) {
        let text = cost.as_str().unwrap_or_default();
        // No plus sign and no leading zeros: one spelling per number.
        let plain = !text.starts_with('+') && (text == "0" || !text.trim_start_matches('-').starts_with('0'));
        if !(plain && text.parse::<i32>().is_ok()) {
            report.invalid(&path.key(DELETION_COST), text, "must be a 32bit integer");
        }
    }
    let mut names = None;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            seccomp(report, value, &path.child(key));
        }
        if let Some(name) = key.strip_prefix(APPARMOR) {
            let names: &HashSet<&str> = names.get_or_insert_with(|| {
                LISTS
                    .iter()
                    .flat_map(|list| spec.list(list))
                    .map(|container| container.text("name"))
                    .collect()
            });
            if !names.contains(name) {
                report.invalid(&path.key(key), name, "container not found");
            }
            let known = matches!(value, "" | "runtime/default" | "unconfined");
            if !known && !value.starts_with(LOCALHOST) {
                let why = format!("invalid AppArmor profile name: {}", quote(value));
                report.invalid(&path.key(key), value, why);
            }
        }
    }
}

/// Annotations that may not come, go or change while a pod lives.
pub(super) fn update(report: &mut Report, new: &Value, old: &Value, path: &Path) {
    for (key, value) in old.as_object().into_iter().flatten() {
        if new.get(key) == Some(value) {
            continue;
        }
        if key.starts_with(APPARMOR) {
            report.forbidden(&path.key(key), "may not remove or update AppArmor annotations");
        }
        if key == MIRROR {
            report.forbidden(&path.key(key), "may not remove or update mirror pod annotation");
        }
    }
    for key in new.as_object().into_iter().flatten().map(|(key, _)| key) {
        if old.get(key).is_some() {
            continue;
        }
        if key.starts_with(APPARMOR) {
            report.forbidden(&path.key(key), "may not add AppArmor annotations");
        }
        if key == MIRROR {
            report.forbidden(&path.key(key), "may not add mirror pod annotation");
        }
    }
}

/// Where both an annotation and the field are there, they say the same.
pub(super) fn agree(report: &mut Report, annotations: &Value, spec: &Value, path: &Path) {
    let profile = &spec["securityContext"]["seccompProfile"];
    if let Some(annotation) = annotations.get(SECCOMP_POD) {
        let path = path.child("securityContext").child("seccompProfile");
        same(report, annotation, profile, &path, "seccomp");
    }
    for (path, container) in containers(spec, path) {
        let (name, context) = (container.text("name"), &container["securityContext"]);
        let path = path.child("securityContext");
        if let Some(annotation) = annotations.get(format!("{SECCOMP_CONTAINER}{name}")) {
            same(report, annotation, &context["seccompProfile"], &path.child("seccompProfile"), "seccomp");
        }
        if spec["os"].text("name") == "windows" {
            continue;
        }
        if let Some(annotation) = annotations.get(format!("{APPARMOR}{name}")) {
            let own = context.part("appArmorProfile");
            let profile = own.unwrap_or(&spec["securityContext"]["appArmorProfile"]);
            same(report, annotation, profile, &path.child("appArmorProfile"), "apparmor");
        }
    }
}

fn same(report: &mut Report, annotation: &Value, profile: &Value, path: &Path, what: &str) {
    let annotation = annotation.as_str().unwrap_or_default();
    let kind_differs = format!("{what} type in annotation and field must match");
    match profile.text("type") {
        "Unconfined" if annotation != "unconfined" => report.forbidden(&path.child("type"), kind_differs),
        "RuntimeDefault" => {
            let docker = what == "seccomp" && annotation == "docker/default";
            if annotation != "runtime/default" && !docker {
                report.forbidden(&path.child("type"), kind_differs);
            }
        }
        "Localhost" => match annotation.strip_prefix(LOCALHOST) {
            None => report.forbidden(&path.child("type"), kind_differs),
            Some(file) if file != profile.text("localhostProfile") => {
                let why = format!("{what} profile in annotation and field must match");
                report.forbidden(&path.child("localhostProfile"), why);
            }
            Some(_) => {}
        },
        _ => {}
    }
}

fn seccomp(report: &mut Report, value: &str, path: &Path) {
    match value {
        "runtime/default" | "docker/default" | "unconfined" => {}
        _ => match value.strip_prefix(LOCALHOST) {
            Some(file) => volume::descending_path(report, path, file),
            None => report.invalid(path, value, "must be a valid seccomp profile"),
        },
    }
}

//! Ephemeral containers: for looking into a pod, so nothing that a pod's service depends on.

use std::collections::HashSet;

use super::super::fields::{Fields, is_empty, items};
use super::super::report::Report;
use super::{Whole, container};
use crate::field::Path;

const CANNOT: &str = "cannot be set for an Ephemeral Container";
/// Refused even when empty.
const POINTERS: &[&str] = &["restartPolicy", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"];
/// In the order of the Go struct.
const FORBIDDEN: &[&str] = &[
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

pub(super) fn all(report: &mut Report, whole: &Whole<'_>, path: &Path) {
    let others: HashSet<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| whole.spec.list(list))
        .map(|container| container.text("name"))
        .collect();
    let mut names = others.clone();
    for (path, ephemeral) in items(whole.spec, "ephemeralContainers", path) {
        container::common(report, whole, ephemeral, &path);
        container::image_in_pod(report, ephemeral, &path);
        if !names.insert(ephemeral.text("name")) {
            report.duplicate(&path.child("name"), ephemeral.text("name"));
        }
        let target = ephemeral.text("targetContainerName");
        if !target.is_empty() && !others.contains(target) {
            report.not_found(&path.child("targetContainerName"), target);
        }
        for name in FORBIDDEN {
            if !is_empty(&ephemeral[*name]) || (POINTERS.contains(name) && ephemeral.part(name).is_some()) {
                report.forbidden(&path.child(name), CANNOT);
            }
        }
        for (path, mount) in items(ephemeral, "volumeMounts", &path) {
            for name in ["subPath", "subPathExpr"] {
                if !mount.text(name).is_empty() {
                    report.forbidden(&path.child(name), CANNOT);
                }
            }
        }
    }
}

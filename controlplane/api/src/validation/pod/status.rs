//! Status of a pod: what the kubelet may report about one that lives.

use std::collections::HashSet;

use serde_json::Value;

use super::super::address;
use super::super::fields::{Fields, items};
use super::super::metadata;
use super::super::report::Report;
use super::container::is_sidecar;
use super::{annotations, node_name};
use crate::field::Path;

const SYSTEM_CONDITIONS: &[&str] = &["PodScheduled", "Ready", "Initialized"];

/// A write to the `status` subresource.
pub(in super::super) fn status(report: &mut Report, new: &Value, old: &Value) {
    let path = Path::new("metadata");
    metadata::update(report, &new["metadata"], &old["metadata"], &path);
    let annotations_path = path.child("annotations");
    let (after, before) = (&new["metadata"]["annotations"], &old["metadata"]["annotations"]);
    annotations::update(report, after, before, &annotations_path);
    annotations::check(report, after, &new["spec"], &annotations_path);
    for (path, condition) in items(&new["status"], "conditions", &path) {
        if !SYSTEM_CONDITIONS.contains(&condition.text("type")) {
            report.qualified_name(&path.child("Type"), condition.text("type"));
        }
    }
    let path = Path::new("status");
    if new["spec"].text("nodeName") != old["spec"].text("nodeName") {
        report.forbidden(&path.child("nodeName"), "may not be changed directly");
    }
    let (status, before) = (&new["status"], &old["status"]);
    let nominated = status.text("nominatedNodeName");
    if nominated != before.text("nominatedNodeName") && !nominated.is_empty() {
        node_name(report, &path.child("nominatedNodeName"), nominated);
    }
    let class = path.child("qosClass");
    if status.text("qosClass") != before.text("qosClass") {
        report.invalid(&class, status.text("qosClass"), super::super::report::IMMUTABLE);
    }
    restarts(report, status, before, &old["spec"], &path);
    addresses(report, status, &path);
}

/// A container that has ended for good does not come back.
fn restarts(report: &mut Report, new: &Value, old: &Value, spec: &Value, path: &Path) {
    for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        let policy = if list.starts_with("ephemeral") { "Never" } else { spec.text("restartPolicy") };
        if policy == "Always" {
            continue;
        }
        for (index, before) in old.list(list).iter().enumerate() {
            let Some(end) = before["state"].part("terminated") else { continue };
            let failed = end.number("exitCode").unwrap_or_default() != 0;
            if (failed && policy == "OnFailure") || restarts_itself(spec, list, before.text("name")) {
                continue;
            }
            let back = new.list(list).iter().any(|after| {
                after.text("name") == before.text("name") && after["state"].part("terminated").is_none()
            });
            if back {
                let path = path.child(list).index(index).child("state");
                report.forbidden(&path, "may not be transitioned to non-terminated state");
            }
        }
    }
}

/// Sidecars, and containers with a restart policy of their own.
fn restarts_itself(spec: &Value, list: &str, name: &str) -> bool {
    let containers = match list {
        "initContainerStatuses" => spec.list("initContainers"),
        "containerStatuses" => spec.list("containers"),
        _ => return false,
    };
    let found = containers.iter().find(|container| container.text("name") == name);
    found.is_some_and(|container| {
        is_sidecar(container)
            || container.text("restartPolicy") == "OnFailure"
            || !container.list("restartPolicyRules").is_empty()
    })
}

fn addresses(report: &mut Report, status: &Value, path: &Path) {
    let first = status.list("hostIPs").first().map(|item| item.text("ip"));
    if let Some(first) = first.filter(|first| *first != status.text("hostIP")) {
        let path = path.child("hostIPs").index(0).child("ip");
        report.invalid(&path, first, "must be equal to `hostIP`");
    }
    for list in ["podIPs", "hostIPs"] {
        let all = status.list(list);
        for (path, item) in items(status, list, path) {
            address::ip(report, &path, item.text("ip"));
        }
        if all.len() > 1 {
            if all.len() > 2 || !address::is_dual_stack(all.iter().map(|item| item.text("ip"))) {
                let why = "may specify no more than one IP for each IP family";
                report.invalid(&path.child(list), status[list].clone(), why);
            }
            let mut seen = HashSet::new();
            for (path, item) in items(status, list, path) {
                if !seen.insert(item.text("ip")) {
                    report.duplicate(&path, item.clone());
                }
            }
        }
    }
}

//! The `resize` subresource: CPU and memory of running containers, nothing else, within the class of service.

use serde_json::Value;

use super::super::fields::{Fields, is_empty};
use super::super::metadata;
use super::super::report::Report;
use super::container::is_sidecar;
use super::update::equal;
use super::{MIRROR, metadata_and_spec, qos};
use crate::field::Path;

/// A write to the `resize` subresource.
pub(in super::super) fn resize(report: &mut Report, new: &Value, old: &Value) {
    if let Some(why) = refusal(new, old) {
        report.forbidden(&Path::default(), why);
        return;
    }
    metadata::update(report, &new["metadata"], &old["metadata"], &Path::new("metadata"));
    metadata_and_spec(report, new);
    let path = Path::new("spec");
    let class = match old["status"].text("qosClass") {
        "" => qos::class(&old["spec"]),
        class => class,
    };
    if class != qos::class(&new["spec"]) {
        let why = "Pod QOS Class may not change as a result of resizing";
        report.invalid(&path, new["status"].text("qosClass"), why);
    }
    let running = old["status"].list("containerStatuses").iter();
    let running = running.into_iter().find(|status| status["state"].part("running").is_some());
    if running.is_some_and(|status| status.part("resources").is_none()) {
        report.forbidden(&path, "Pod running on node without support for resize");
    }
    let mut rest = new["spec"].clone();
    for list in ["initContainers", "containers"] {
        containers(report, &mut rest, &old["spec"], list, &path);
    }
    if report.len() == 0 && !equal(&rest, &old["spec"]) {
        report.forbidden(&path, "only cpu and memory resources are mutable");
    }
}

/// Pods that cannot be resized at all.
fn refusal(new: &Value, old: &Value) -> Option<&'static str> {
    let pod_level = |pod: &Value| {
        let resources = &pod["spec"]["resources"];
        !is_empty(&resources["requests"]) || !is_empty(&resources["limits"])
    };
    if pod_level(new) || pod_level(old) {
        Some("pods with pod-level resources cannot be resized")
    } else if old["metadata"]["annotations"].get(MIRROR).is_some() {
        Some("static pods cannot be resized")
    } else if old["spec"]["os"].text("name") == "windows" {
        Some("windows pods cannot be resized")
    } else {
        None
    }
}

/// Puts the old CPU and memory back into one list of containers, so that the rest must be equal.
fn containers(report: &mut Report, spec: &mut Value, old: &Value, list: &str, path: &Path) {
    let init = list == "initContainers";
    let list_path = path.child(list);
    for (index, container) in
        spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().enumerate()
    {
        let Some(before) = old.list(list).get(index) else { continue };
        let resizable = !init || is_sidecar(before);
        if resizable {
            for kind in ["requests", "limits"] {
                let (new, old) = (&container["resources"][kind], &before["resources"]);
                if old.entries(kind).any(|(name, _)| new.get(name).is_none()) {
                    let path = list_path.index(index).child("resources").child(kind);
                    report.forbidden(&path, format!("resource {kind} cannot be removed"));
                }
                take_back(container, before, kind);
            }
        }
        if !equal(container, before) {
            let why = match (init, resizable) {
                (false, _) => "only cpu and memory resources are mutable",
                (true, true) => "only cpu and memory resources for sidecar containers are mutable",
                (true, false) => "resources for non-sidecar init containers are immutable",
            };
            report.forbidden(path, why);
        }
    }
}

fn take_back(container: &mut Value, before: &Value, kind: &str) {
    let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else { return };
    let old = &before["resources"][kind];
    if resources.get(kind).is_none() && old.is_object() {
        resources.insert(kind.to_owned(), Value::Object(serde_json::Map::new()));
    }
    let Some(amounts) = resources.get_mut(kind).and_then(Value::as_object_mut) else { return };
    for name in ["cpu", "memory"] {
        match old.get(name) {
            Some(amount) => drop(amounts.insert(name.to_owned(), amount.clone())),
            None => drop(amounts.shift_remove(name)),
        }
    }
}

//! The `resize` subresource: CPU and memory of a pod and of its containers, nothing else, within the class of service.

use serde_json::Value;

use super::super::fields::{Fields, equal, is_empty};
use super::super::metadata;
use super::super::report::Report;
use super::container::is_sidecar;
use super::{MIRROR, metadata_and_spec, qos};
use crate::field::Path;

const LISTS: [&str; 2] = ["initContainers", "containers"];

/// A write to the `resize` subresource.
pub(in super::super) fn resize(report: &mut Report, new: &Value, old: &Value) {
    if let Some(why) = refusal(old) {
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
    let (new, old) = (&new["spec"], &old["spec"]);
    let mut rest = new.clone();
    whole_pod(report, &mut rest, new, old, &path);
    if !same_containers(report, new, old, &path) {
        return;
    }
    for list in LISTS {
        kept(report, new, old, list, &path);
    }
    containers(report, &mut rest, old, &path);
    init_containers(report, &mut rest, old, &path);
    if report.len() == 0 && !equal(&rest, old) {
        report.forbidden(&path, "only cpu and memory resources are mutable");
    }
}

/// Pods that cannot be resized at all.
fn refusal(old: &Value) -> Option<&'static str> {
    if old["metadata"]["annotations"].get(MIRROR).is_some() {
        Some("static pods cannot be resized")
    } else if old["spec"]["os"].text("name") == "windows" {
        Some("windows pods cannot be resized")
    } else {
        None
    }
}

/// `resources` of the pod itself; they are put back as they were in `rest`.
fn whole_pod(report: &mut Report, rest: &mut Value, new: &Value, old: &Value, path: &Path) {
    let has = |spec: &Value| {
        ["requests", "limits"].iter().any(|kind| spec["resources"].entries(kind).next().is_some())
    };
    if !has(new) && !has(old) {
        return;
    }
    let resources = path.child("resources");
    let before = old.part("resources");
    if before.is_some() && new.part("resources").is_none() {
        report.forbidden(&resources, "pod-level resources cannot be removed");
        return;
    }
    for kind in ["requests", "limits"] {
        if removed(&new["resources"], &old["resources"], kind) {
            let why = format!("pod-level resource {kind} cannot be removed");
            report.forbidden(&resources.child(kind), why);
        }
        take_back(rest, old, kind);
    }
    if before.is_none() && is_bare(&rest["resources"]) {
        rest.as_object_mut().map(|fields| fields.shift_remove("resources"));
    }
    if !equal(&rest["resources"], &old["resources"]) {
        report.forbidden(path, "only cpu and memory resources are mutable at pod-level");
    }
}

fn is_bare(resources: &Value) -> bool {
    ["requests", "limits", "claims"].iter().all(|part| is_empty(&resources[*part]))
}

/// Containers are the same ones in the same order.
fn same_containers(report: &mut Report, new: &Value, old: &Value, path: &Path) -> bool {
    let before = report.len();
    for list in ["containers", "initContainers"] {
        let path = path.child(list);
        let (after, known) = (new.list(list), old.list(list));
        if after.len() != known.len() {
            report.forbidden(&path, format!("{list} may not be added or removed on resize"));
            continue;
        }
        for (index, (after, known)) in after.iter().zip(known).enumerate() {
            if after.text("name") != known.text("name") {
                let path = path.index(index).child("name");
                report.forbidden(&path, format!("{list} may not be renamed or reordered on resize"));
            }
        }
    }
    report.len() == before
}

/// What was asked for stays asked for.
fn kept(report: &mut Report, new: &Value, old: &Value, list: &str, path: &Path) {
    for (index, (after, before)) in new.list(list).iter().zip(old.list(list)).enumerate() {
        for kind in ["requests", "limits"] {
            if removed(&after["resources"], &before["resources"], kind) {
                let path = path.child(list).index(index).child("resources").child(kind);
                report.forbidden(&path, format!("resource {kind} cannot be removed"));
            }
        }
    }
}

fn removed(new: &Value, old: &Value, kind: &str) -> bool {
    old.entries(kind).any(|(name, _)| new[kind].get(name).is_none())
}

/// Puts the old CPU and memory back, so that the rest must be equal.
fn containers(report: &mut Report, rest: &mut Value, old: &Value, path: &Path) {
    for (container, before) in mutable(rest, "containers").zip(old.list("containers")) {
        ["requests", "limits"].iter().for_each(|kind| take_back(container, before, kind));
        if !equal(container, before) {
            report.forbidden(path, "only cpu and memory resources are mutable");
        }
    }
}

/// The same for init containers, which cannot be restarted for it unless they are sidecars.
fn init_containers(report: &mut Report, rest: &mut Value, old: &Value, path: &Path) {
    let all = mutable(rest, "initContainers").zip(old.list("initContainers")).enumerate();
    for (index, (container, before)) in all {
        let changes = !equal(container, before);
        let path = path.child("initContainers").index(index);
        ["requests", "limits"].iter().for_each(|kind| take_back(container, before, kind));
        if !equal(container, before) {
            let why = "only cpu and memory resources for init or sidecar containers are mutable";
            report.forbidden(&path, why);
        }
        let mut policies = container.list("resizePolicy").iter();
        let restarts = policies.any(|policy| policy.text("restartPolicy") == "RestartContainer");
        if changes && restarts && !is_sidecar(container) {
            let why =
                "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
            report.forbidden(&path, why);
        }
    }
}

fn mutable<'a>(spec: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
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

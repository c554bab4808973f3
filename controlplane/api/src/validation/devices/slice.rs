//! ResourceSlices: which devices a driver has, and from which nodes they can be reached.

use serde_json::{Value, json};

use super::super::fields::{Fields, items};
use super::super::pod;
use super::super::report::Report;
use super::super::storage::driver_name;
use super::{attribute_name, distinct, few, node_name, pool_name};
use crate::field::Path;

const MOST_DEVICES: usize = 128;
/// Where any of them has taints or counters.
const MOST_ADVANCED_DEVICES: usize = 64;
const MOST_COUNTER_SETS: usize = 8;
const MOST_COUNTERS: usize = 32;
const MOST_CONSUMPTIONS: usize = 2;
const MOST_ATTRIBUTES: usize = 32;
const ATTRIBUTE_VALUE_MAX: usize = 64;
const MOST_TAINTS: usize = 16;
const PLACES: &str =
    "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
const DEVICE_PLACES: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
const NOT_TRUE: &str = "must be either unset or set to true";

pub(in super::super) fn slice(report: &mut Report, slice: &Value) {
    let (spec, path) = (&slice["spec"], Path::new("spec"));
    driver_name(report, spec.text("driver"), &path.child("driver"));
    let (pool, pool_path) = (&spec["pool"], path.child("pool"));
    pool_name(report, pool.text("name"), &pool_path.child("name"));
    let count = pool.number("resourceSliceCount").unwrap_or_default();
    if count <= 0 {
        report.invalid(&pool_path.child("resourceSliceCount"), count, "must be greater than zero");
    }
    if let Some(generation) = pool.number("generation").filter(|generation| *generation < 0) {
        let why = "must be greater than or equal to zero";
        report.invalid(&pool_path.child("generation"), generation, why);
    }
    let empty = "must be either unset or set to a non-empty string";
    match places(report, spec, true, empty, &path)[..] {
        [] => report.required(&path, PLACES),
        [_] => {}
        ref several => {
            let why = format!("{PLACES}, but multiple fields are set");
            report.invalid(&path, format!("{{{}}}", several.join(", ")), why);
        }
    }
    if spec.part("sharedCounters").is_some() && spec.part("devices").is_some() {
        report.invalid(&path, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    let advanced =
        |device: &Value| !device.list("taints").is_empty() || !device.list("consumesCounters").is_empty();
    let most = if spec.list("devices").iter().any(advanced) { MOST_ADVANCED_DEVICES } else { MOST_DEVICES };
    if few(report, spec, "devices", most, &path) {
        for (path, device) in items(spec, "devices", &path) {
            self::device(report, device, spec.flag("perDeviceNodeSelection"), &path);
        }
        distinct(report, spec, "devices", &path, |device| json!(device.text("name")));
    }
    if few(report, spec, "sharedCounters", MOST_COUNTER_SETS, &path) {
        for (path, set) in items(spec, "sharedCounters", &path) {
            counters(report, set, "name", &path);
        }
        distinct(report, spec, "sharedCounters", &path, |set| json!(set.text("name")));
    }
}

/// What is said of where a slice, or one of its devices, can be reached.
fn places(report: &mut Report, of: &Value, is_slice: bool, empty: &str, path: &Path) -> Vec<&'static str> {
    let mut found = Vec::new();
    if of.part("nodeName").is_some() {
        match of.text("nodeName") {
            "" => report.invalid(&path.child("nodeName"), "", empty),
            name => {
                found.push("`nodeName`");
                node_name(report, name, &path.child("nodeName"));
            }
        }
    }
    if let Some(selector) = of.part("nodeSelector") {
        found.push("`nodeSelector`");
        let path = path.child("nodeSelector");
        pod::node_selector(report, selector, &path);
        if is_slice && selector.list("nodeSelectorTerms").len() != 1 {
            let terms = selector["nodeSelectorTerms"].clone();
            report.invalid(
                &path.child("nodeSelectorTerms"),
                terms,
                "must have exactly one node selector term",
            );
        }
    }
    let flags = [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")];
    for (name, shown) in flags.into_iter().take(if is_slice { 2 } else { 1 }) {
        match of.part(name).and_then(Value::as_bool) {
            Some(true) => found.push(shown),
            Some(false) => report.invalid(&path.child(name), false, NOT_TRUE),
            None => {}
        }
    }
    found
}

fn device(report: &mut Report, device: &Value, places_itself: bool, path: &Path) {
    report.dns_label(&path.child("name"), device.text("name"));
    let count = device.entries("attributes").count() + device.entries("capacity").count();
    if count > MOST_ATTRIBUTES {
        let why = format!("the total number of attributes and capacities must not exceed {MOST_ATTRIBUTES}");
        report.invalid(path, count, why);
    }
    for (name, attribute) in device.entries("attributes") {
        let path = path.child("attributes").key(name);
        attribute_name(report, name, &path);
        self::attribute(report, attribute, &path);
    }
    for (name, capacity) in device.entries("capacity") {
        let path = path.child("capacity").key(name);
        attribute_name(report, name, &path);
        if capacity.part("requestPolicy").is_some() && !device.flag("allowMultipleAllocations") {
            report.forbidden(&path.child("requestPolicy"), "allowMultipleAllocations must be true");
        }
    }
    few(report, device, "taints", MOST_TAINTS, path);
    if few(report, device, "consumesCounters", MOST_CONSUMPTIONS, path) {
        for (path, consumed) in items(device, "consumesCounters", path) {
            counters(report, consumed, "counterSet", &path);
        }
        distinct(report, device, "consumesCounters", path, |consumed| json!(consumed.text("counterSet")));
    }
    if places_itself {
        match places(report, device, false, "must not be empty", path)[..] {
            [] => report.required(path, DEVICE_PLACES),
            [_] => {}
            ref several => report.invalid(path, format!("{{{}}}", several.join(", ")), DEVICE_PLACES),
        }
    } else if ["nodeName", "nodeSelector", "allNodes"].iter().any(|name| device.part(name).is_some()) {
        let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        report.invalid(path, Value::Null, why);
    }
}

/// One value of one type.
fn attribute(report: &mut Report, attribute: &Value, path: &Path) {
    for name in ["string", "version"] {
        if attribute.text(name).len() > ATTRIBUTE_VALUE_MAX {
            report.too_long(&path.child(name), ATTRIBUTE_VALUE_MAX);
        }
    }
    let count =
        ["bool", "int", "string", "version"].iter().filter(|name| attribute.part(name).is_some()).count();
    match count {
        0 => report.invalid(path, "", "exactly one value must be specified"),
        1 => {}
        _ => report.invalid(path, attribute.clone(), "exactly one value must be specified"),
    }
}

/// Counters under the name of their set.
fn counters(report: &mut Report, set: &Value, name: &str, path: &Path) {
    match set.text(name) {
        "" => report.required(&path.child(name), ""),
        given => report.dns_label(&path.child(name), given),
    }
    let (count, list) = (set.entries("counters").count(), path.child("counters"));
    match count {
        0 => report.required(&list, ""),
        count if count > MOST_COUNTERS => report.too_many(&list, count, MOST_COUNTERS),
        _ => {
            for (name, _) in set.entries("counters") {
                report.dns_label(&list.key(name), name);
            }
        }
    }
}

pub(in super::super) fn slice_update(report: &mut Report, new: &Value, old: &Value) {
    let path = Path::new("spec");
    let (after, before) = (&new["spec"]["pool"]["name"], &old["spec"]["pool"]["name"]);
    report.immutable(&path.child("pool").child("name"), after, before);
    for name in ["driver", "nodeName"] {
        report.immutable(&path.child(name), &new["spec"][name], &old["spec"][name]);
    }
}

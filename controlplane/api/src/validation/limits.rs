//! LimitRanges: names of resources, and that minimum, default request, default and maximum are in this order.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use super::fields::{Fields, items};
use super::pod;
use super::report::Report;
use crate::field::Path;
use crate::names;
use crate::quantity::{Format, Quantity};

const KINDS: &[&str] = &["Container", "PersistentVolumeClaim", "Pod"];
const DEFAULTS: &[&str] = &["default", "defaultRequest"];
const RATIO: &str = "maxLimitRequestRatio";

pub(super) fn limit_range(report: &mut Report, range: &Value) {
    let mut seen = HashSet::new();
    for (path, item) in items(&range["spec"], "limits", &Path::new("spec")) {
        let (kind, at) = (item.text("type"), path.child("type"));
        type_name(report, kind, &at);
        if !seen.insert(kind) {
            report.duplicate(&at, kind);
        }
        limits(report, item, kind, &path);
    }
}

fn type_name(report: &mut Report, kind: &str, path: &Path) {
    let complaints = names::qualified_name(kind);
    if !complaints.is_empty() {
        report.complaints(path, kind, complaints);
    } else if !kind.contains('/') && !KINDS.contains(&kind) {
        report.invalid(path, kind, "must be a standard limit type or fully qualified");
    }
}

fn limits(report: &mut Report, item: &Value, kind: &str, path: &Path) {
    let mut all = BTreeSet::new();
    let mut named = |report: &mut Report, part: &str| {
        let path = path.child(part);
        if kind == "Pod" && DEFAULTS.contains(&part) {
            if item.entries(part).next().is_some() {
                report.forbidden(&path, "may not be specified when `type` is 'Pod'");
            }
            return;
        }
        for (name, _) in item.entries(part) {
            resource(report, kind, name, &path.key(name));
            all.insert(name);
        }
    };
    for part in ["max", "min"].iter().chain(DEFAULTS) {
        named(report, part);
    }
    if kind == "PersistentVolumeClaim"
        && ["min", "max"].iter().all(|part| item[*part].get("storage").is_none())
    {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        report.required(&path.child("limits"), why);
    }
    named(report, RATIO);
    for name in all {
        let of = |part: &str| {
            let ignored = kind == "Pod" && DEFAULTS.contains(&part);
            (!ignored).then(|| item[part].quantity(name)).flatten()
        };
        order(report, &of, name, path);
        ratio(report, &of, &path.child(RATIO).key(name));
        if let (Some(limit), Some(request)) = (of("default"), of("defaultRequest"))
            && limit != request
            && !pod::may_overcommit(name)
        {
            let why = format!("default value {limit} must equal to defaultRequest value {request} in {name}");
            report.invalid(&path.child("defaultRequest").key(name), request.to_string(), why);
        }
    }
}

/// Claims have storage; containers and pods have what containers may request.
fn resource(report: &mut Report, kind: &str, name: &str, path: &Path) {
    match kind {
        "Container" | "Pod" => pod::container_resource(report, name, path),
        _ => drop(pod::resource_name(report, name, path)),
    }
}

/// Where a complaint is made, and which of the two amounts it shows.
type Bound = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

const ORDER: [Bound; 6] = [
    ("min", "max", "min", "min", "min value", "max value"),
    ("min", "defaultRequest", "defaultRequest", "defaultRequest", "min value", "default request value"),
    ("defaultRequest", "max", "defaultRequest", "defaultRequest", "default request value", "max value"),
    (
        "defaultRequest",
        "default",
        "defaultRequest",
        "defaultRequest",
        "default request value",
        "default limit value",
    ),
    ("min", "default", "default", "min", "min value", "default value"),
    ("default", "max", "default", "max", "default value", "max value"),
];

/// Minimum, default request, default, maximum: in this order.
fn order(report: &mut Report, of: &impl Fn(&str) -> Option<Quantity>, name: &str, path: &Path) {
    for (low, high, field, shown, low_name, high_name) in ORDER {
        let (Some(least), Some(most)) = (of(low), of(high)) else { continue };
        if least > most {
            let shown = if shown == low { least.to_string() } else { most.to_string() };
            let why = format!("{low_name} {least} is greater than {high_name} {most}");
            report.invalid(&path.child(field).key(name), shown, why);
        }
    }
}

/// By how much a limit may exceed its request.
fn ratio(report: &mut Report, of: &impl Fn(&str) -> Option<Quantity>, path: &Path) {
    let Some(ratio) = of(RATIO) else { return };
    if ratio < Quantity::from_units(1, Format::DecimalSi) {
        report.invalid(path, ratio.to_string(), format!("ratio {ratio} is less than 1"));
    }
    let (Some(least), Some(most)) = (of("min"), of("max")) else { return };
    let highest = most.as_f64() / least.as_f64();
    if ratio.as_f64() > highest {
        let why = format!("ratio {ratio} is greater than max/min = {highest:.6}");
        report.invalid(path, ratio.to_string(), why);
    }
}

//! Events: a few rules for all of them, more for those written through `events.k8s.io`.
//!
//! An object of `events.k8s.io/v1` has other names for the same fields; complaints use the core names, as upstream's do,
//! because it checks the core form.

use std::borrow::Cow;

use serde_json::Value;

use super::fields::Fields;
use super::metadata::{self, NameRule};
use super::report::Report;
use crate::field::Path;
use crate::kind::{Kind, core_event_of};

const SHORT_MAX: usize = 128;
const MESSAGE_MAX: usize = 1024;
const MISMATCH: &str = "does not match event.namespace";
/// What stays as it is in an event of the new API.
const FIXED: &[&str] = &[
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
];

/// An event that is to be created.
pub(super) fn create(report: &mut Report, kind: &Kind, event: &Value) {
    let core = core_form(kind, event);
    legacy(report, &core);
    if kind.group.is_empty() {
        return;
    }
    let path = Path::new("metadata");
    metadata::create(report, &core["metadata"], true, NameRule::Subdomain, &path);
    series(report, &core);
    if core.part("eventTime").is_none() {
        report.required(&Path::new("eventTime"), "");
    }
    let kind = core.text("type");
    if !matches!(kind, "Normal" | "Warning") {
        report.invalid(&Path::new("type"), "", format!("has invalid value: {kind}"));
    }
    for name in ["firstTimestamp", "lastTimestamp"] {
        if core.part(name).is_some() {
            report.invalid(&Path::new(name), "", "needs to be unset");
        }
    }
    if core.number("count").unwrap_or_default() != 0 {
        report.invalid(&Path::new("count"), "", "needs to be unset");
    }
    let source = &core["source"];
    if !source.text("component").is_empty() || !source.text("host").is_empty() {
        report.invalid(&Path::new("source"), "", "needs to be unset");
    }
}

/// An event that replaces another.
pub(super) fn update(report: &mut Report, kind: &Kind, new: &Value, old: &Value) {
    let (new, old) = (core_form(kind, new), core_form(kind, old));
    legacy(report, &new);
    if kind.group.is_empty() {
        return;
    }
    if new["series"] != old["series"] {
        series(report, &new);
    }
    for name in FIXED {
        report.immutable(&Path::new(name), &new[*name], &old[*name]);
    }
    for (name, shown) in
        [("reportingComponent", "reportingController"), ("reportingInstance", "reportingInstance")]
    {
        report.immutable(&Path::new(shown), &new[name], &old[name]);
    }
}

fn core_form<'a>(kind: &Kind, event: &'a Value) -> Cow<'a, Value> {
    match event.as_object() {
        Some(fields) if !kind.group.is_empty() => Cow::Owned(Value::Object(core_event_of(fields.clone()))),
        _ => Cow::Borrowed(event),
    }
}

fn series(report: &mut Report, event: &Value) {
    let Some(series) = event.part("series") else { return };
    if series.number("count").unwrap_or_default() < 2 {
        report.invalid(&Path::new("series.count"), "", "should be at least 2");
    }
    if series.part("lastObservedTime").is_none() {
        report.required(&Path::new("series.lastObservedTime"), "");
    }
}

/// What every event must be.
fn legacy(report: &mut Report, event: &Value) {
    let namespace = event["metadata"].text("namespace");
    let object = event["involvedObject"].text("namespace");
    let new_style = event.part("eventTime").is_some();
    let fits = match (new_style, object) {
        (false, "") => matches!(namespace, "" | "default"),
        (false, object) => object == namespace,
        (true, "") => matches!(namespace, "default" | "kube-system"),
        (true, _) => true,
    };
    if !fits {
        report.invalid(&Path::new("involvedObject").child("namespace"), object, MISMATCH);
    }
    if new_style {
        reporter(report, event);
    }
    report.dns_subdomain(&Path::new("namespace"), namespace);
}

fn reporter(report: &mut Report, event: &Value) {
    let controller = Path::new("reportingController");
    let name = event.text("reportingComponent");
    if name.is_empty() {
        report.required(&controller, "");
    }
    report.qualified_name(&controller, name);
    for name in ["reportingInstance", "action", "reason"] {
        let path = Path::new(name);
        if event.text(name).is_empty() {
            report.required(&path, "");
        }
        if event.text(name).len() > SHORT_MAX {
            report.invalid(&path, "", format!("can have at most {SHORT_MAX} characters"));
        }
    }
    if event.text("message").len() > MESSAGE_MAX {
        report.invalid(&Path::new("message"), "", format!("can have at most {MESSAGE_MAX} characters"));
    }
}

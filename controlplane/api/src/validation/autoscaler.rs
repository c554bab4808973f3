//! HorizontalPodAutoscalers: what they look at, and how fast they may act.

use serde_json::Value;

use super::fields::{Fields, items, parse_quantity};
use super::pod;
use super::report::{NEGATIVE, Report};
use crate::field::Path;
use crate::names;

/// The sources of numbers by the metric's type, in the order in which upstream looks for them.
const SOURCES: &[(&str, &str)] = &[
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];
const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
const PERIOD_SECONDS_MAX: i64 = 1800;
const WINDOW_SECONDS_MAX: i64 = 3600;

/// Everything but `metadata` itself; in both versions.
pub(super) fn autoscaler(report: &mut Report, autoscaler: &Value) {
    let (spec, path) = (&autoscaler["spec"], Path::new("spec"));
    let least = spec.number("minReplicas");
    if let Some(least) = least.filter(|least| *least < 1) {
        report.invalid(&path.child("minReplicas"), least, "must be greater than or equal to 1");
    }
    let most = spec.number("maxReplicas").unwrap_or_default();
    if most < 1 {
        report.invalid(&path.child("maxReplicas"), most, "must be greater than 0");
    }
    if least.is_some_and(|least| most < least) {
        report.invalid(&path.child("maxReplicas"), most, "must be greater than or equal to `minReplicas`");
    }
    reference(report, &spec["scaleTargetRef"], &path.child("scaleTargetRef"));
    let percent = spec.number("targetCPUUtilizationPercentage");
    if let Some(percent) = percent.filter(|percent| *percent < 1) {
        report.invalid(&path.child("targetCPUUtilizationPercentage"), percent, "must be greater than 0");
    }
    for (path, metric) in items(spec, "metrics", &path) {
        self::metric(report, metric, &path);
    }
    for name in ["scaleUp", "scaleDown"] {
        if let Some(rules) = spec["behavior"].part(name) {
            scaling(report, rules, &path.child("behavior").child(name));
        }
    }
}

pub(super) fn status(report: &mut Report, autoscaler: &Value) {
    let path = Path::new("status");
    for name in ["currentReplicas", "desiredReplicas"] {
        if let Some(count) = autoscaler["status"].number(name).filter(|count| *count < 0) {
            report.invalid(&path.child(name), count, NEGATIVE);
        }
    }
}

fn reference(report: &mut Report, reference: &Value, path: &Path) {
    for name in ["kind", "name"] {
        match reference.text(name) {
            "" => report.required(&path.child(name), ""),
            given => report.complaints(&path.child(name), given, names::path_segment(given)),
        }
    }
}

fn metric(report: &mut Report, metric: &Value, path: &Path) {
    let kind = metric.text("type");
    if kind.is_empty() {
        report.required(&path.child("type"), "must specify a metric source type");
    }
    if !TYPES.contains(&kind) {
        report.not_supported(&path.child("type"), kind, TYPES);
    }
    let present: Vec<&str> =
        SOURCES.iter().map(|(_, field)| *field).filter(|field| metric.part(field).is_some()).collect();
    if let Some(first) = present.first() {
        source(report, first, &metric[*first], &path.child(first));
    }
    let expected = SOURCES.iter().find(|(known, _)| *known == kind).map(|(_, field)| *field);
    if let Some(field) = expected.filter(|field| !present.contains(field)) {
        report.required(&path.child(field), "must populate information for the given metric source");
    }
    if present.len() != 1 {
        for field in present.into_iter().filter(|field| Some(*field) != expected) {
            report.forbidden(&path.child(field), "must populate the given metric source only");
        }
    }
}

fn source(report: &mut Report, field: &str, source: &Value, path: &Path) {
    if field == "object" {
        reference(report, &source["describedObject"], &path.child("describedObject"));
    }
    if matches!(field, "object" | "external" | "pods") {
        let name_path = path.child("metric").child("name");
        match source["metric"].text("name") {
            "" => report.required(&name_path, "must specify a metric name"),
            name => report.complaints(&name_path, name, names::path_segment(name)),
        }
    } else {
        match source.text("name") {
            "" => report.required(&path.child("name"), "must specify a resource name"),
            name if field == "containerResource" => {
                pod::container_resource(report, name, &path.child("name"));
            }
            _ => {}
        }
        if field == "containerResource" {
            match source.text("container") {
                "" => report.required(&path.child("container"), "must specify a container"),
                name => report.dns_label(&path.child("container"), name),
            }
        }
    }
    let (target, path) = (&source["target"], path.child("target"));
    self::target(report, target, &path);
    let has = |name: &str| target.part(name).is_some();
    let (value, average, utilization) = (has("value"), has("averageValue"), has("averageUtilization"));
    match field {
        "object" if !value && !average => {
            report.required(&path.child("averageValue"), "must set either a target value or averageValue");
        }
        "external" if !value && !average => {
            let why = "must set either a target value for metric or a per-pod target";
            report.required(&path.child("averageValue"), why);
        }
        "external" if value && average => {
            let why = "may not set both a target value for metric and a per-pod target";
            report.forbidden(&path.child("value"), why);
        }
        "pods" if !average => {
            report.required(&path.child("averageValue"), "must specify a positive target averageValue");
        }
        "resource" | "containerResource" if !utilization && !average => {
            let why = "must set either a target raw value or a target utilization";
            report.required(&path.child("averageUtilization"), why);
        }
        "resource" | "containerResource" if utilization && average => {
            let why = "may not set both a target raw value and a target utilization";
            report.forbidden(&path.child("averageValue"), why);
        }
        _ => {}
    }
}

fn target(report: &mut Report, target: &Value, path: &Path) {
    let kind = target.text("type");
    if kind.is_empty() {
        report.required(&path.child("type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        report.invalid(&path.child("type"), kind, "must be either Utilization, Value, or AverageValue");
    }
    for name in ["value", "averageValue"] {
        let amount = target.part(name);
        if amount.and_then(parse_quantity).is_some_and(|amount| amount.sign() <= 0) {
            report.invalid(&path.child(name), amount.cloned().unwrap_or_default(), "must be positive");
        }
    }
    if let Some(percent) = target.number("averageUtilization").filter(|percent| *percent < 1) {
        report.invalid(&path.child("averageUtilization"), percent, "must be greater than 0");
    }
}

fn scaling(report: &mut Report, rules: &Value, path: &Path) {
    let (window, window_path) =
        (rules.number("stabilizationWindowSeconds"), path.child("stabilizationWindowSeconds"));
    if let Some(window) = window.filter(|window| *window < 0) {
        report.invalid(&window_path, window, "must be greater than or equal to zero");
    }
    if let Some(window) = window.filter(|window| *window > WINDOW_SECONDS_MAX) {
        report.invalid(&window_path, window, format!("must be less than or equal to {WINDOW_SECONDS_MAX}"));
    }
    let known = &["Disabled", "Max", "Min"];
    if let Some(select) =
        rules.part("selectPolicy").and_then(Value::as_str).filter(|select| !known.contains(select))
    {
        report.not_supported(&path.child("selectPolicy"), select, known);
    }
    if rules.list("policies").is_empty() {
        report.required(&path.child("policies"), "must specify at least one Policy");
    }
    for (path, policy) in items(rules, "policies", path) {
        let kind = policy.text("type");
        if !matches!(kind, "Pods" | "Percent") {
            report.not_supported(&path.child("type"), kind, &["Percent", "Pods"]);
        }
        for name in ["value", "periodSeconds"] {
            let number = policy.number(name).unwrap_or_default();
            if number <= 0 {
                report.invalid(&path.child(name), number, "must be greater than zero");
            }
        }
        let period = policy.number("periodSeconds").unwrap_or_default();
        if period > PERIOD_SECONDS_MAX {
            let why = format!("must be less than or equal to {PERIOD_SECONDS_MAX}");
            report.invalid(&path.child("periodSeconds"), period, why);
        }
    }
}

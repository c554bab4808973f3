//! Claims for devices, templates of claims, classes, and what was allocated.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::super::fields::{Fields, items};
use super::super::report::Report;
use super::super::storage::driver_name;
use super::super::{labels, pod};
use super::{distinct, few, full_attribute_name, pool_name};
use crate::cel::{Program, Type};
use crate::field::Path;

const MOST_REQUESTS: usize = 32;
const MOST_CONSTRAINTS: usize = 32;
const MOST_CONFIGS: usize = 32;
const MOST_SELECTORS: usize = 32;
const MOST_ALTERNATIVES: usize = 8;
const MOST_TOLERATIONS: usize = 16;
const MOST_CONSUMERS: usize = 256;
const EXPRESSION_MAX: usize = 10 * 1024;
const PARAMETERS_MAX: usize = 10 * 1024;
const MODES: &[&str] = &["All", "ExactCount"];
const NOT_A_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];

/// The requests of a claim, each with its alternatives.
type Requests<'a> = HashMap<&'a str, HashSet<&'a str>>;

pub(in super::super) fn claim(report: &mut Report, claim: &Value) {
    devices(report, &claim["spec"]["devices"], &Path::new("spec").child("devices"));
}

pub(in super::super) fn template(report: &mut Report, template: &Value) {
    let (metadata, path) = (&template["spec"]["metadata"], Path::new("spec"));
    let metadata_path = path.child("metadata");
    labels::annotations(report, &metadata["annotations"], &metadata_path.child("annotations"));
    labels::labels(report, &metadata["labels"], &metadata_path.child("labels"));
    devices(report, &template["spec"]["spec"]["devices"], &path.child("spec").child("devices"));
}

pub(in super::super) fn class(report: &mut Report, class: &Value) {
    let (spec, path) = (&class["spec"], Path::new("spec"));
    selectors(report, spec, &path);
    if few(report, spec, "config", MOST_CONFIGS, &path) {
        for (path, config) in items(spec, "config", &path) {
            opaque(report, config, &path);
        }
    }
    let name = spec.text("extendedResourceName");
    let is_extended = name.contains('/')
        && !name.contains("kubernetes.io/")
        && !name.starts_with("requests.")
        && crate::names::qualified_name(&format!("requests.{name}")).is_empty();
    if spec.part("extendedResourceName").is_some() && !is_extended {
        let why = "must be a valid extended resource name";
        report.invalid(&path.child("extendedResourceName"), name, why);
    }
}

fn devices(report: &mut Report, claim: &Value, path: &Path) {
    let known = requests(claim);
    if few(report, claim, "requests", MOST_REQUESTS, path) {
        for (path, request) in items(claim, "requests", path) {
            self::request(report, request, &path);
        }
        distinct(report, claim, "requests", path, |request| json!(request.text("name")));
    }
    if few(report, claim, "constraints", MOST_CONSTRAINTS, path) {
        for (path, constraint) in items(claim, "constraints", path) {
            self::constraint(report, constraint, &known, &path);
        }
    }
    if few(report, claim, "config", MOST_CONFIGS, path) {
        for (path, config) in items(claim, "config", path) {
            references(report, config, &known, &path);
            opaque(report, config, &path);
        }
    }
}

fn requests(claim: &Value) -> Requests<'_> {
    let named = claim.list("requests").iter().map(|request| {
        let others = request.list("firstAvailable").iter().map(|other| other.text("name")).collect();
        (request.text("name"), others)
    });
    named.collect()
}

fn request(report: &mut Report, request: &Value, path: &Path) {
    report.dns_label(&path.child("name"), request.text("name"));
    let alternatives = !request.list("firstAvailable").is_empty();
    match (request.part("exactly"), alternatives) {
        (None, false) => {
            report.required(path, "exactly one of `exactly` or `firstAvailable` is required");
        }
        (Some(_), true) => {
            let why = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            report.invalid(path, Value::Null, why);
        }
        (Some(exactly), false) => asked(report, exactly, &path.child("exactly")),
        (None, true) => {
            if !few(report, request, "firstAvailable", MOST_ALTERNATIVES, path) {
                return;
            }
            for (path, alternative) in items(request, "firstAvailable", path) {
                report.dns_label(&path.child("name"), alternative.text("name"));
                asked(report, alternative, &path);
            }
            distinct(report, request, "firstAvailable", path, |alternative| json!(alternative.text("name")));
        }
    }
}

/// What one request asks for.
fn asked(report: &mut Report, request: &Value, path: &Path) {
    match request.text("deviceClassName") {
        "" => report.required(&path.child("deviceClassName"), ""),
        name => report.dns_subdomain(&path.child("deviceClassName"), name),
    }
    selectors(report, request, path);
    let (mode, count) = (request.text("allocationMode"), request.number("count").unwrap_or_default());
    match mode {
        "All" if count != 0 => {
            let why = "must not be specified when allocationMode is 'All'";
            report.invalid(&path.child("count"), count, why);
        }
        "ExactCount" if count <= 0 => {
            report.invalid(&path.child("count"), count, "must be greater than zero");
        }
        "All" | "ExactCount" => {}
        other => report.not_supported(&path.child("allocationMode"), other, MODES),
    }
    if few(report, request, "tolerations", MOST_TOLERATIONS, path) {
        for (path, toleration) in items(request, "tolerations", path) {
            self::toleration(report, toleration, &path);
        }
    }
}

fn toleration(report: &mut Report, toleration: &Value, path: &Path) {
    let (key, operator) = (toleration.text("key"), toleration.text("operator"));
    if !key.is_empty() {
        report.qualified_name(&path.child("key"), key);
    }
    match operator {
        "Exists" => {
            if !toleration.text("value").is_empty() {
                let why = "must be empty for operator `Exists`";
                report.invalid(&path.child("value"), toleration.text("value"), why);
            }
        }
        "Equal" => {
            let value = toleration.text("value");
            report.complaints(&path.child("value"), value, crate::names::label_value(value));
        }
        "" => report.required(&path.child("operator"), ""),
        other => report.not_supported(&path.child("operator"), other, &["Equal", "Exists"]),
    }
    let effect = toleration.text("effect");
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        report.not_supported(&path.child("effect"), effect, EFFECTS);
    }
}

fn selectors(report: &mut Report, of: &Value, path: &Path) {
    if !few(report, of, "selectors", MOST_SELECTORS, path) {
        return;
    }
    for (path, selector) in items(of, "selectors", path) {
        let path = path.child("cel");
        let Some(cel) = selector.part("cel") else {
            report.required(&path, "");
            continue;
        };
        let (expression, path) = (cel.text("expression"), path.child("expression"));
        if expression.len() > EXPRESSION_MAX {
            report.too_long(&path, EXPRESSION_MAX);
        } else if let Err(why) = Program::compile_binding(expression, &[("device", Type::Dyn)], &Type::Bool) {
            report.invalid(&path, expression, format!("compilation failed: {why}"));
        }
    }
}

fn constraint(report: &mut Report, constraint: &Value, known: &Requests<'_>, path: &Path) {
    references(report, constraint, known, path);
    match (constraint.part("matchAttribute"), constraint.part("distinctAttribute")) {
        (Some(_), _) => {
            let name = constraint.text("matchAttribute");
            full_attribute_name(report, name, &path.child("matchAttribute"));
        }
        (None, Some(_)) => {
            let name = constraint.text("distinctAttribute");
            full_attribute_name(report, name, &path.child("distinctAttribute"));
        }
        // What "but" means here is upstream's.
        (None, None) => report.required(
            path,
            "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
        ),
    }
}

/// The requests that something is about.
fn references(report: &mut Report, of: &Value, known: &Requests<'_>, path: &Path) {
    if !few(report, of, "requests", MOST_REQUESTS, path) {
        return;
    }
    let list = path.child("requests");
    for (index, name) in of.texts("requests").enumerate() {
        reference(report, name, known, &list.index(index));
    }
    distinct(report, of, "requests", path, Value::clone);
}

fn reference(report: &mut Report, name: &str, known: &Requests<'_>, path: &Path) {
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() > 2 {
        return report.invalid(path, name, NOT_A_REQUEST);
    }
    for part in &parts {
        report.dns_label(path, part);
    }
    let found =
        known.get(parts[0]).is_some_and(|others| parts.get(1).is_none_or(|part| others.contains(part)));
    if !found {
        report.invalid(path, name, NOT_A_REQUEST);
    }
}

/// Parameters that only a driver understands.
fn opaque(report: &mut Report, config: &Value, path: &Path) {
    let path = path.child("opaque");
    let Some(opaque) = config.part("opaque") else { return report.required(&path, "") };
    driver_name(report, opaque.text("driver"), &path.child("driver"));
    let (parameters, path) = (&opaque["parameters"], path.child("parameters"));
    match parameters {
        Value::Null => report.required(&path, ""),
        Value::Object(_) if parameters.to_string().len() > PARAMETERS_MAX => {
            report.too_long(&path, PARAMETERS_MAX);
        }
        Value::Object(_) => {}
        _ => report.invalid(&path, "<value omitted>", "must be a valid JSON object"),
    }
}

/// Status of a claim.
pub(in super::super) fn status(report: &mut Report, new: &Value, old: &Value) {
    let (status, path) = (&new["status"], Path::new("status"));
    let reserved = path.child("reservedFor");
    if few(report, status, "reservedFor", MOST_CONSUMERS, &path) {
        for (path, consumer) in items(status, "reservedFor", &path) {
            for name in ["resource", "name", "uid"] {
                if consumer.text(name).is_empty() {
                    report.required(&path.child(name), "");
                }
            }
        }
        distinct(report, status, "reservedFor", &path, |consumer| json!(consumer.text("uid")));
    }
    if !status.list("reservedFor").is_empty() {
        let before = old["status"].list("reservedFor");
        let is_new = |consumer: &Value| !before.contains(consumer);
        if status.part("allocation").is_none() {
            report.forbidden(&reserved, "may not be specified when `allocated` is not set");
        } else if new["metadata"].part("deletionTimestamp").is_some()
            && status.list("reservedFor").iter().any(is_new)
        {
            let why =
                "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            report.forbidden(&reserved, why);
        }
    }
    let (after, path) = (status.part("allocation"), path.child("allocation"));
    match (after, old["status"].part("allocation")) {
        (Some(after), Some(before)) => report.immutable(&path, after, before),
        (Some(after), None) => allocation(report, after, &requests(&new["spec"]["devices"]), &path),
        (None, _) => {}
    }
}

fn allocation(report: &mut Report, allocation: &Value, known: &Requests<'_>, path: &Path) {
    let (devices, devices_path) = (&allocation["devices"], path.child("devices"));
    if few(report, devices, "results", MOST_REQUESTS, &devices_path) {
        for (path, result) in items(devices, "results", &devices_path) {
            reference(report, result.text("request"), known, &path.child("request"));
            driver_name(report, result.text("driver"), &path.child("driver"));
            pool_name(report, result.text("pool"), &path.child("pool"));
            report.dns_label(&path.child("device"), result.text("device"));
        }
    }
    if few(report, devices, "config", 2 * MOST_CONFIGS, &devices_path) {
        for (path, config) in items(devices, "config", &devices_path) {
            let source = path.child("source");
            report.one_of(&source, config.text("source"), &["FromClaim", "FromClass"]);
            references(report, config, known, &path);
            opaque(report, config, &path);
        }
    }
    if let Some(selector) = allocation.part("nodeSelector") {
        pod::node_selector(report, selector, &path.child("nodeSelector"));
    }
}

//! Affinity to nodes and to other pods.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::super::fields::{Fields, items};
use super::super::labels;
use super::super::report::Report;
use crate::field::Path;
use crate::names;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const BAD_OPERATOR: &str = "not a valid selector operator";

pub(super) fn check(report: &mut Report, affinity: &Value, path: &Path) {
    if let Some(node) = affinity.part("nodeAffinity") {
        self::node(report, node, &path.child("nodeAffinity"));
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = affinity.part(kind) else { continue };
        let path = path.child(kind);
        for (path, term) in items(pods, REQUIRED, &path) {
            pod_term(report, term, &path);
        }
        for (path, term) in items(pods, PREFERRED, &path) {
            weight(report, term, &path);
            pod_term(report, &term["podAffinityTerm"], &path.child("podAffinityTerm"));
        }
    }
}

fn node(report: &mut Report, node: &Value, path: &Path) {
    if let Some(required) = node.part(REQUIRED) {
        node_selector(report, required, &path.child(REQUIRED));
    }
    for (path, term) in items(node, PREFERRED, path) {
        weight(report, term, &path);
        node_term(report, &term["preference"], false, &path.child("preference"));
    }
}

/// Which nodes will do: one of the terms at least.
pub(in super::super) fn node_selector(report: &mut Report, selector: &Value, path: &Path) {
    if selector.list("nodeSelectorTerms").is_empty() {
        report.required(&path.child("nodeSelectorTerms"), "must have at least one node selector term");
    }
    for (path, term) in items(selector, "nodeSelectorTerms", path) {
        node_term(report, term, true, &path);
    }
}

fn weight(report: &mut Report, term: &Value, path: &Path) {
    let weight = term.number("weight").unwrap_or_default();
    if !(1..=100).contains(&weight) {
        report.invalid(&path.child("weight"), weight, "must be in the range 1-100");
    }
}

/// A node selector term. A preference may ask for label values that no node can have: it does no harm.
fn node_term(report: &mut Report, term: &Value, strict: bool, path: &Path) {
    for (path, expression) in items(term, "matchExpressions", path) {
        let (values, count) = (path.child("values"), expression.list("values").len());
        match expression.text("operator") {
            "In" | "NotIn" if count == 0 => {
                report.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if count > 0 => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                report.forbidden(&values, why);
            }
            "Gt" | "Lt" if count != 1 => {
                report.required(&values, "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => report.invalid(&path.child("operator"), other, BAD_OPERATOR),
        }
        report.qualified_name(&path.child("key"), expression.text("key"));
        for (index, value) in expression.texts("values").enumerate().filter(|_| strict) {
            report.complaints(&values.index(index), value, names::label_value(value));
        }
    }
    for (path, expression) in items(term, "matchFields", path) {
        match_field(report, expression, &path);
    }
}

/// The only field is the node's name.
fn match_field(report: &mut Report, expression: &Value, path: &Path) {
    let values = path.child("values");
    match expression.text("operator") {
        "In" | "NotIn" => {
            if expression.list("values").len() != 1 {
                let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                report.required(&values, why);
            }
        }
        other => report.invalid(&path.child("operator"), other, BAD_OPERATOR),
    }
    if expression.text("key") != "metadata.name" {
        let why = "not a valid field selector key";
        report.invalid(&path.child("key"), expression.text("key"), why);
        return;
    }
    for (index, value) in expression.texts("values").enumerate() {
        report.dns_subdomain(&values.index(index), value);
    }
}

fn pod_term(report: &mut Report, term: &Value, path: &Path) {
    for name in ["labelSelector", "namespaceSelector"] {
        labels::selector(report, &term[name], &path.child(name));
    }
    for namespace in term.texts("namespaces") {
        report.dns_label(&path.child("namespace"), namespace);
    }
    label_keys(report, term, path);
    if term.text("topologyKey").is_empty() {
        report.required(&path.child("topologyKey"), "can not be empty");
    }
    report.qualified_name(&path.child("topologyKey"), term.text("topologyKey"));
}

/// `matchLabelKeys` and `mismatchLabelKeys`.
fn label_keys(report: &mut Report, term: &Value, path: &Path) {
    let selector = &term["labelSelector"];
    for name in ["matchLabelKeys", "mismatchLabelKeys"] {
        let path = path.child(name);
        if !term.list(name).is_empty() && selector.is_null() {
            report.forbidden(&path, "must not be specified when labelSelector is not set");
            continue;
        }
        for (index, key) in term.texts(name).enumerate() {
            report.qualified_name(&path.index(index), key);
        }
    }
    // Admission has put a condition per key into the selector already: the second one is the user's.
    let mut seen: HashSet<&str> = selector.entries("matchLabels").map(|(key, _)| key).collect();
    let keys = term.texts("matchLabelKeys").enumerate();
    let indexes: HashMap<&str, usize> = keys.map(|(index, key)| (key, index)).collect();
    for expression in selector.list("matchExpressions") {
        let key = expression.text("key");
        if let (Some(index), true) = (indexes.get(key), seen.contains(key)) {
            report.invalid(&path.index(*index), key, "exists in both matchLabelKeys and labelSelector");
        }
        seen.insert(key);
    }
    let others: HashSet<&str> = term.texts("mismatchLabelKeys").collect();
    for (index, key) in term.texts("matchLabelKeys").enumerate() {
        if others.contains(key) {
            let path = path.child("matchLabelKeys").index(index);
            report.invalid(&path, key, "exists in both matchLabelKeys and mismatchLabelKeys");
        }
    }
}

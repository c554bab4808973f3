//! What makes up the cluster itself: namespaces, nodes, leases.

use std::collections::HashSet;

use serde_json::Value;

use super::fields::{Fields, items, parse_quantity};
use super::report::Report;
use super::{address, metadata, pod};
use crate::field::Path;
use crate::names;

const LEASE_STRATEGIES: &[&str] = &["OldestEmulationVersion"];

pub(super) fn namespace(report: &mut Report, namespace: &Value) {
    for name in namespace["spec"].texts("finalizers") {
        metadata::finalizer(report, &Path::new("spec").child("finalizers"), name);
    }
}

/// The `finalize` subresource of a namespace.
pub(super) fn namespace_finalize(report: &mut Report, namespace: &Value) {
    let path = Path::new("spec").child("finalizers");
    for (index, name) in namespace["spec"].texts("finalizers").enumerate() {
        metadata::finalizer(report, &path.index(index), name);
    }
}

/// The phase follows from whether a namespace is being deleted.
pub(super) fn namespace_status(report: &mut Report, namespace: &Value) {
    let phase = namespace["status"].text("phase");
    let deleting = namespace["metadata"].part("deletionTimestamp").is_some();
    let (wanted, when) = if deleting { ("Terminating", "not empty") } else { ("Active", "empty") };
    if phase != wanted {
        // The capital letter is upstream's.
        let path = Path::new("status").child("Phase");
        report.invalid(&path, phase, format!("may only be '{wanted}' if `deletionTimestamp` is {when}"));
    }
}

pub(super) fn node(report: &mut Report, node: &Value) {
    taints(report, node);
    amounts(report, node);
    let (spec, path) = (&node["spec"], Path::new("spec").child("podCIDRs"));
    for (index, range) in spec.texts("podCIDRs").enumerate() {
        address::cidr(report, &path.index(index), range);
    }
    let count = spec.list("podCIDRs").len();
    if count <= 1 {
        return;
    }
    if count > 2 || !address::is_dual_stack_range(spec.texts("podCIDRs")) {
        let why = "may specify no more than one CIDR for each IP family";
        report.invalid(&path, spec["podCIDRs"].clone(), why);
    }
    let mut seen = HashSet::new();
    for (index, range) in spec.texts("podCIDRs").enumerate() {
        if !seen.insert(range) {
            report.duplicate(&path.index(index), range);
        }
    }
}

/// Taints are complained about below `metadata`, as upstream does.
fn taints(report: &mut Report, node: &Value) {
    let mut seen = HashSet::new();
    for (path, taint) in items(&node["spec"], "taints", &Path::new("metadata")) {
        let (key, effect) = (taint.text("key"), taint.text("effect"));
        report.qualified_name(&path.child("key"), key);
        let complaints = names::label_value(taint.text("value"));
        if !complaints.is_empty() {
            report.invalid(&path.child("value"), taint.text("value"), complaints.join(";"));
        }
        pod::taint_effect(report, effect, &path.child("effect"));
        if !seen.insert((key, effect)) {
            report.duplicate_because(&path, taint.clone(), "taints must be unique by key and effect pair");
        }
    }
}

fn amounts(report: &mut Report, node: &Value) {
    for list in ["capacity", "allocatable"] {
        for (name, amount) in node["status"].entries(list) {
            if let Some(amount) = parse_quantity(amount) {
                let path = Path::new("status").child(list).child(name);
                pod::resource_quantity(report, name, &amount, &path);
            }
        }
    }
}

/// What an update of a node, or of its status, may not do.
pub(super) fn node_update(report: &mut Report, new: &Value, old: &Value) {
    amounts(report, new);
    let mut seen = HashSet::new();
    for (path, address) in items(&new["status"], "addresses", &Path::new("status")) {
        if !seen.insert((address.text("type"), address.text("address"))) {
            report.duplicate(&path, address.clone());
        }
    }
    let (after, before, path) = (&new["spec"], &old["spec"], Path::new("spec"));
    if !before.list("podCIDRs").is_empty() && after.list("podCIDRs") != before.list("podCIDRs") {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        report.forbidden(&path.child("podCIDRs"), why);
    }
    let provider = before.text("providerID");
    if !provider.is_empty() && provider != after.text("providerID") {
        let why = "node updates may not change providerID except from \"\" to valid";
        report.forbidden(&path.child("providerID"), why);
    }
    taints(report, new);
    if after.text("externalID") != before.text("externalID") {
        report.forbidden(&path.child("externalID"), "may not be updated");
    }
}

pub(super) fn lease(report: &mut Report, lease: &Value) {
    let (spec, path) = (&lease["spec"], Path::new("spec"));
    if let Some(seconds) = spec.number("leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        report.invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0");
    }
    report.non_negative(&path.child("leaseTransitions"), spec.number("leaseTransitions"));
    let strategy = spec.text("strategy");
    if spec.part("strategy").is_some() {
        // Upstream names the field twice.
        let path = path.child("strategy").child("strategy");
        if strategy.contains('/') {
            report.qualified_name(&path, strategy);
        } else if !LEASE_STRATEGIES.contains(&strategy) {
            report.not_supported(&path, strategy, LEASE_STRATEGIES);
        }
    }
    if !spec.text("preferredHolder").is_empty() && strategy.is_empty() {
        let why = "may only be specified if `strategy` is defined";
        report.forbidden(&path.child("preferredHolder"), why);
    }
}

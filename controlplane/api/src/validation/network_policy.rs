//! NetworkPolicies.

use serde_json::{Value, json};

use super::address;
use super::fields::{Fields, items};
use super::labels;
use super::report::Report;
use crate::field::Path;

// Here upstream does not sort what it supports.
const TYPES: &[&str] = &["Ingress", "Egress"];
const PROTOCOLS: &[&str] = &["TCP", "UDP", "SCTP"];

/// Everything but `metadata` itself.
pub(super) fn check(report: &mut Report, policy: &Value) {
    let (spec, path) = (&policy["spec"], Path::new("spec"));
    labels::selector(report, &spec["podSelector"], &path.child("podSelector"));
    for (list, peers) in [("ingress", "from"), ("egress", "to")] {
        for (path, rule) in items(spec, list, &path) {
            for (path, port) in items(rule, "ports", &path) {
                self::port(report, port, &path);
            }
            for (path, peer) in items(rule, peers, &path) {
                self::peer(report, peer, &path);
            }
        }
    }
    let types = path.child("policyTypes");
    if spec.list("policyTypes").len() > TYPES.len() {
        report.invalid(&types, json!(spec.list("policyTypes")), "may not specify more than two policyTypes");
        return;
    }
    for (index, name) in spec.texts("policyTypes").enumerate() {
        if !TYPES.contains(&name) {
            report.not_supported(&types.index(index), name, TYPES);
        }
    }
}

fn port(report: &mut Report, port: &Value, path: &Path) {
    if let Some(protocol) = port.part("protocol").and_then(Value::as_str)
        && !PROTOCOLS.contains(&protocol)
    {
        report.not_supported(&path.child("protocol"), protocol, PROTOCOLS);
    }
    let (end, end_path) = (port.number("endPort"), path.child("endPort"));
    match (port.part("port"), end) {
        (None, None) => {}
        (None, Some(end)) => {
            report.invalid(&end_path, end, "may not be specified when `port` is not specified");
        }
        (Some(name @ Value::String(_)), end) => {
            if let Some(end) = end {
                report.invalid(&end_path, end, "may not be specified when `port` is non-numeric");
            }
            report.port(&path.child("port"), name);
        }
        (Some(first), end) => {
            report.port(&path.child("port"), first);
            if let Some(end) = end {
                if end < first.as_i64().unwrap_or_default() {
                    report.invalid(&end_path, end, "must be greater than or equal to `port`");
                }
                report.port_number(&end_path, end);
            }
        }
    }
}

fn peer(report: &mut Report, peer: &Value, path: &Path) {
    let selectors = ["podSelector", "namespaceSelector"];
    for name in selectors {
        if let Some(selector) = peer.part(name) {
            labels::selector(report, selector, &path.child(name));
        }
    }
    let selects = selectors.iter().any(|name| peer.part(name).is_some());
    let block = peer.part("ipBlock");
    if let Some(block) = block {
        self::block(report, block, &path.child("ipBlock"));
    }
    if !selects && block.is_none() {
        report.required(path, "must specify a peer");
    } else if selects && block.is_some() {
        report.forbidden(path, "may not specify both ipBlock and another peer");
    }
}

fn block(report: &mut Report, block: &Value, path: &Path) {
    let cidr = block.text("cidr");
    if cidr.is_empty() {
        return report.required(&path.child("cidr"), "");
    }
    address::cidr(report, &path.child("cidr"), cidr);
    let Some((outer, outer_bits)) = address::range(cidr) else { return };
    for (index, except) in block.texts("except").enumerate() {
        let path = path.child("except").index(index);
        address::cidr(report, &path, except);
        let Some((inner, inner_bits)) = address::range(except) else { continue };
        if !address::holds(outer, outer_bits, inner) || outer_bits >= inner_bits {
            report.invalid(&path, except, "must be a strict subset of `cidr`");
        }
    }
}

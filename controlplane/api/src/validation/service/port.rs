//! Ports of a Service: each by itself, and against each other.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::super::fields::{Fields, items};
use super::super::report::{PROTOCOLS, Report};
use crate::field::Path;

/// Each port by itself, and their names.
pub(super) fn all(report: &mut Report, spec: &Value, path: &Path) {
    let many = spec.list("ports").len() > 1;
    let mut names = HashSet::new();
    for (path, port) in items(spec, "ports", path) {
        let name = port.text("name");
        if many && name.is_empty() {
            report.required(&path.child("name"), "");
        } else if !name.is_empty() {
            report.dns_label(&path.child("name"), name);
            if !names.insert(name) {
                report.duplicate(&path.child("name"), name);
            }
        }
        report.port_number(&path.child("port"), port.number("port").unwrap_or_default());
        report.one_of(&path.child("protocol"), port.text("protocol"), PROTOCOLS);
        report.port(&path.child("targetPort"), &port["targetPort"]);
        if port.part("appProtocol").is_some() {
            report.qualified_name(&path.child("appProtocol"), port.text("appProtocol"));
        }
    }
}

/// Ports that cannot be there twice, or at all.
pub(super) fn collisions(report: &mut Report, spec: &Value, path: &Path) {
    let node_port = |port: &Value| port.number("nodePort").unwrap_or_default();
    if spec.text("type") == "ClusterIP" {
        for (path, port) in items(spec, "ports", path).filter(|(_, port)| node_port(port) != 0) {
            let _ = port;
            report.forbidden(&path.child("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
    let mut taken = HashSet::new();
    for (path, port) in items(spec, "ports", path).filter(|(_, port)| node_port(port) != 0) {
        if !taken.insert((port.text("protocol"), node_port(port))) {
            report.duplicate(&path.child("nodePort"), node_port(port));
        }
    }
    taken.clear();
    for (path, port) in items(spec, "ports", path) {
        let (protocol, number) = (port.text("protocol"), port.number("port").unwrap_or_default());
        if !taken.insert((protocol, number)) {
            report.duplicate(&path, json!({ "protocol": protocol, "port": number }));
        }
    }
}

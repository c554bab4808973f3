//! Endpoints and EndpointSlices.

use std::collections::HashSet;

use serde_json::Value;

use super::fields::{Fields, items};
use super::report::{PROTOCOLS, Report};
use super::{address, labels, pod};
use crate::field::Path;
use crate::names;

const ADDRESS_TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const TOPOLOGY_MAX: usize = 16;
const HINTS_MAX: usize = 8;

/// `subsets` of Endpoints.
pub(super) fn endpoints(report: &mut Report, endpoints: &Value) {
    for (path, subset) in items(endpoints, "subsets", &Path::default()) {
        if subset.list("addresses").is_empty() && subset.list("notReadyAddresses").is_empty() {
            report.required(&path, "must specify `addresses` or `notReadyAddresses`");
        }
        for list in ["addresses", "notReadyAddresses"] {
            for (path, address) in items(subset, list, &path) {
                self::address(report, address, &path);
            }
        }
        let many = subset.list("ports").len() > 1;
        for (path, port) in items(subset, "ports", &path) {
            match port.text("name") {
                "" if many => report.required(&path.child("name"), ""),
                "" => {}
                name => report.dns_label(&path.child("name"), name),
            }
            report.port_number(&path.child("port"), port.number("port").unwrap_or_default());
            protocols(report, port, &path);
        }
    }
}

fn address(report: &mut Report, address: &Value, path: &Path) {
    let ip = address.text("ip");
    address::ip(report, &path.child("ip"), ip);
    if !address.text("hostname").is_empty() {
        report.dns_label(&path.child("hostname"), address.text("hostname"));
    }
    if address.part("nodeName").is_some() {
        pod::node_name(report, &path.child("nodeName"), address.text("nodeName"));
    }
    address::not_special(report, &path.child("ip"), ip);
}

fn protocols(report: &mut Report, port: &Value, path: &Path) {
    report.one_of(&path.child("protocol"), port.text("protocol"), PROTOCOLS);
    if port.part("appProtocol").is_some() {
        report.qualified_name(&path.child("appProtocol"), port.text("appProtocol"));
    }
}

/// An EndpointSlice.
pub(super) fn slice(report: &mut Report, slice: &Value) {
    let kind = slice.text("addressType");
    report.one_of(&Path::new("addressType"), kind, ADDRESS_TYPES);
    let path = Path::new("endpoints");
    let count = slice.list("endpoints").len();
    if count > ENDPOINTS_MAX {
        report.too_many(&path, count, ENDPOINTS_MAX);
    } else {
        for (path, endpoint) in items(slice, "endpoints", &Path::default()) {
            self::endpoint(report, endpoint, kind, &path);
        }
    }
    slice_ports(report, slice, &Path::new("ports"));
}

/// What an update of an EndpointSlice may not change.
pub(super) fn slice_update(report: &mut Report, new: &Value, old: &Value) {
    report.immutable(&Path::new("addressType"), &new["addressType"], &old["addressType"]);
}

fn endpoint(report: &mut Report, endpoint: &Value, kind: &str, path: &Path) {
    let addresses = path.child("addresses");
    match endpoint.list("addresses").len() {
        0 => report.required(&addresses, "must contain at least 1 address"),
        count if count > ADDRESSES_MAX => report.too_many(&addresses, count, ADDRESSES_MAX),
        _ => {}
    }
    for (index, text) in endpoint.texts("addresses").enumerate() {
        let path = addresses.index(index);
        match kind {
            "IPv4" | "IPv6" => address::endpoint_of_family(report, &path, text, kind == "IPv6"),
            "FQDN" => domain(report, &path, text),
            _ => {}
        }
    }
    if endpoint.part("nodeName").is_some() {
        pod::node_name(report, &path.child("nodeName"), endpoint.text("nodeName"));
    }
    let topology = path.child("deprecatedTopology");
    let count = endpoint.entries("deprecatedTopology").count();
    if count > TOPOLOGY_MAX {
        report.too_many(&topology, count, TOPOLOGY_MAX);
    }
    labels::labels(report, &endpoint["deprecatedTopology"], &topology);
    if endpoint.part("hostname").is_some() {
        report.dns_label(&path.child("hostname"), endpoint.text("hostname"));
    }
    for list in ["forZones", "forNodes"] {
        hints(report, &endpoint["hints"], list, &path.child("hints"));
    }
}

fn hints(report: &mut Report, hints: &Value, list: &str, path: &Path) {
    let count = hints.list(list).len();
    if count > HINTS_MAX {
        report.too_many(&path.child(list), count, HINTS_MAX);
        return;
    }
    let mut seen = HashSet::new();
    for (path, hint) in items(hints, list, path) {
        let (name, path) = (hint.text("name"), path.child("name"));
        if !seen.insert(name) {
            report.duplicate(&path, name);
        }
        let complaints =
            if list == "forNodes" { names::dns_subdomain(name) } else { names::label_value(name) };
        report.complaints(&path, name, complaints);
    }
}

/// A full domain name, with or without the last dot.
fn domain(report: &mut Report, path: &Path, name: &str) {
    if name.is_empty() {
        report.required(path, "");
        return;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let complaints = names::dns_subdomain(name);
    if !complaints.is_empty() {
        report.invalid(path, name, complaints.join(","));
    } else if !name.contains('.') {
        report.invalid(path, name, "should be a domain with at least two segments separated by dots");
    } else if let Some(label) = name.split('.').find(|label| !names::dns_label(label).is_empty()) {
        report.invalid(path, label, names::dns_label(label).join(","));
    }
}

fn slice_ports(report: &mut Report, slice: &Value, path: &Path) {
    let count = slice.list("ports").len();
    if count > PORTS_MAX {
        report.too_many(path, count, PORTS_MAX);
        return;
    }
    let mut names = HashSet::new();
    for (path, port) in items(slice, "ports", &Path::default()) {
        let name = port.text("name");
        if !name.is_empty() {
            report.dns_label(&path.child("name"), name);
        }
        if !names.insert(name) {
            report.duplicate(&path.child("name"), name);
        }
        protocols(report, port, &path);
    }
}

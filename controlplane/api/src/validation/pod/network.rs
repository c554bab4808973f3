//! Names and addresses of a pod: DNS, host aliases, host names, the host's network.

use serde_json::Value;

use super::super::address;
use super::super::fields::{Fields, items};
use super::super::report::Report;
use super::Whole;
use crate::field::Path;
use crate::names::Complaints;

const NAME_SERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_LIST_MAX: usize = 2048;
const SUBDOMAIN_MAX: usize = 253;
/// Linux keeps at most this much of a host name.
const HOST_NAME_MAX: usize = 64;
const UNDERSCORE_SENTENCE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";

/// Name of a node, where a field refers to one.
pub(in super::super) fn node_name(report: &mut Report, path: &Path, name: &str) {
    report.dns_subdomain(path, name);
}

/// In the host's network a container's port is the host's port.
pub(super) fn host_network(report: &mut Report, whole: &Whole<'_>, path: &Path) {
    if !whole.spec.flag("hostNetwork") {
        return;
    }
    for (path, container) in items(whole.spec, "containers", path) {
        for (path, port) in items(container, "ports", &path) {
            let number = |name: &str| port.number(name).unwrap_or_default();
            let (host, own) = (number("hostPort"), number("containerPort"));
            // A template may leave it open.
            if (whole.is_pod() || host != 0) && host != own {
                let why = "must match `containerPort` when `hostNetwork` is true";
                report.invalid(&path.child("hostPort"), host, why);
            }
        }
    }
}

pub(super) fn dns_policy(report: &mut Report, spec: &Value, path: &Path) {
    let known = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    report.one_of(&path.child("dnsPolicy"), spec.text("dnsPolicy"), known);
}

pub(super) fn dns_config(report: &mut Report, spec: &Value, path: &Path) {
    let config = &spec["dnsConfig"];
    let servers = path.child("nameservers");
    if spec.text("dnsPolicy") == "None" {
        if config.is_null() {
            report.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if config.list("nameservers").is_empty() {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            report.required(&servers, why);
            return;
        }
    }
    if config.list("nameservers").len() > NAME_SERVERS_MAX {
        let why = format!("must not have more than {NAME_SERVERS_MAX} nameservers");
        report.invalid(&servers, config["nameservers"].clone(), why);
    }
    for (index, server) in config.texts("nameservers").enumerate() {
        address::ip(report, &servers.index(index), server);
    }
    searches(report, config, &path.child("searches"));
    for (path, option) in items(config, "options", path) {
        if option.text("name").is_empty() {
            report.required(&path, "must not be empty");
        }
    }
}

fn searches(report: &mut Report, config: &Value, path: &Path) {
    let domains: Vec<&str> = config.texts("searches").collect();
    if domains.len() > SEARCHES_MAX {
        let why = format!("must not have more than {SEARCHES_MAX} search paths");
        report.invalid(path, config["searches"].clone(), why);
    }
    if domains.join(" ").len() > SEARCH_LIST_MAX {
        let why = format!(
            "must not have more than {SEARCH_LIST_MAX} characters (including spaces) in the search list"
        );
        report.invalid(path, config["searches"].clone(), why);
    }
    for (index, domain) in domains.into_iter().enumerate().filter(|(_, domain)| *domain != ".") {
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        report.complaints(&path.index(index), domain, search_domain(domain));
    }
}

/// A subdomain in which labels may contain underscores.
fn search_domain(domain: &str) -> Complaints {
    let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.strip_prefix('_').unwrap_or(label).as_bytes();
        bytes.first().is_some_and(edge)
            && bytes.last().is_some_and(edge)
            && bytes.iter().all(|byte| edge(byte) || matches!(byte, b'-' | b'_'))
    };
    let mut complaints = Complaints::new();
    if domain.len() > SUBDOMAIN_MAX {
        complaints.push(format!("must be no more than {SUBDOMAIN_MAX} characters"));
    }
    if !domain.split('.').all(label) {
        complaints.push(UNDERSCORE_SENTENCE.into());
    }
    complaints
}

pub(super) fn host_aliases(report: &mut Report, spec: &Value, path: &Path) {
    for (path, alias) in items(spec, "hostAliases", path) {
        address::ip(report, &path.child("ip"), alias.text("ip"));
        for (index, name) in alias.texts("hostnames").enumerate() {
            report.dns_subdomain(&path.child("hostnames").index(index), name);
        }
    }
}

/// `hostname` and `subdomain`.
pub(super) fn hostnames(report: &mut Report, spec: &Value, path: &Path) {
    for name in ["hostname", "subdomain"] {
        if !spec.text(name).is_empty() {
            report.dns_label(&path.child(name), spec.text(name));
        }
    }
}

/// A host name that is none of those that are derived.
pub(super) fn hostname_override(report: &mut Report, spec: &Value, path: &Path) {
    if spec.part("hostnameOverride").is_none() {
        return;
    }
    let (name, path) = (spec.text("hostnameOverride"), path.child("hostnameOverride"));
    if spec.flag("setHostnameAsFQDN") {
        report.forbidden(&path, "may not be specified when setHostnameAsFQDN is true");
    }
    if spec.flag("hostNetwork") {
        report.forbidden(&path, "may not be specified when hostNetwork is true");
    }
    if name.len() > HOST_NAME_MAX {
        report.too_long(&path, HOST_NAME_MAX);
    }
    report.dns_subdomain(&path, name);
}

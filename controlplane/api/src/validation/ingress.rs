//! Ingresses and their classes, addresses of Services.

use std::net::IpAddr;

use serde_json::Value;

use super::address;
use super::fields::{Fields, items};
use super::report::Report;
use crate::field::Path;
use crate::names;

const CONTROLLER_MAX_BYTES: usize = 250;
const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];

pub(super) fn ingress(report: &mut Report, ingress: &Value) {
    let (spec, path) = (&ingress["spec"], Path::new("spec"));
    if spec.list("rules").is_empty() && spec.part("defaultBackend").is_none() {
        report.invalid(&path, spec.clone(), "either `defaultBackend` or `rules` must be specified");
    }
    if let Some(backend) = spec.part("defaultBackend") {
        self::backend(report, backend, &path.child("defaultBackend"));
    }
    for (path, rule) in items(spec, "rules", &path) {
        if !rule.text("host").is_empty() {
            host(report, rule.text("host"), &path.child("host"));
        }
        let Some(http) = rule.part("http") else { continue };
        let path = path.child("http");
        if http.list("paths").is_empty() {
            report.required(&path.child("paths"), "");
        }
        for (path, at) in items(http, "paths", &path) {
            http_path(report, at, &path);
        }
    }
    for (path, tls) in items(spec, "tls", &path) {
        for (index, name) in tls.texts("hosts").enumerate() {
            host(report, name, &path.child("hosts").index(index));
        }
    }
    if !spec.text("ingressClassName").is_empty() {
        report.dns_subdomain(&path.child("ingressClassName"), spec.text("ingressClassName"));
    }
}

fn host(report: &mut Report, host: &str, path: &Path) {
    if host.parse::<IpAddr>().is_ok() {
        report.invalid(path, host, "must be a DNS name, not an IP address");
        return;
    }
    match host.strip_prefix("*.") {
        Some(rest) => report.complaints(path, host, names::dns_subdomain(rest)),
        None => report.dns_subdomain(path, host),
    }
}

fn http_path(report: &mut Report, at: &Value, path: &Path) {
    let text = at.text("path");
    match at.text("pathType") {
        "" => report.required(&path.child("pathType"), "pathType must be specified"),
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                report.invalid(&path.child("path"), text, "must be an absolute path");
            }
            for odd in ["/..", "/."] {
                if text.ends_with(odd) {
                    report.invalid(&path.child("path"), text, format!("cannot end with '{odd}'"));
                }
            }
            for odd in ["//", "/./", "/../", "%2f", "%2F"] {
                if text.contains(odd) {
                    report.invalid(&path.child("path"), text, format!("must not contain '{odd}'"));
                }
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                report.invalid(&path.child("path"), text, "must be an absolute path");
            }
        }
        other => report.not_supported(&path.child("pathType"), other, PATH_TYPES),
    }
    backend(report, &at["backend"], &path.child("backend"));
}

fn backend(report: &mut Report, backend: &Value, path: &Path) {
    match (backend.part("service"), backend.part("resource")) {
        (Some(_), Some(_)) => {
            report.invalid(path, "", "cannot set both resource and service backends");
        }
        (None, None) => report.required(path, "service or resource backend is required"),
        (None, Some(_)) => {}
        (Some(service), None) => {
            let path = path.child("service");
            match service.text("name") {
                "" => report.required(&path.child("name"), ""),
                name => report.complaints(&path.child("name"), name, names::dns_1035_label(name)),
            }
            let (port, path) = (&service["port"], path.child("port"));
            match (port.text("name"), port.number("number").unwrap_or_default()) {
                ("", 0) => report.required(&path, "port name or number is required"),
                ("", number) => report.port_number(&path.child("number"), number),
                (name, 0) => report.complaints(&path.child("name"), name, names::port_name(name)),
                _ => report.invalid(&path, "", "cannot set both port name & port number"),
            }
        }
    }
}

pub(super) fn class(report: &mut Report, class: &Value) {
    let (spec, path) = (&class["spec"], Path::new("spec"));
    let controller = spec.text("controller");
    match controller.split_once('/') {
        _ if controller.is_empty() => report.required(&path.child("controller"), ""),
        Some((domain, rest)) if !rest.is_empty() => report.dns_subdomain(&path.child("controller"), domain),
        _ => {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            report.invalid(&path.child("controller"), controller, why);
        }
    }
    if controller.len() > CONTROLLER_MAX_BYTES {
        report.too_long(&path.child("controller"), CONTROLLER_MAX_BYTES);
    }
    if let Some(parameters) = spec.part("parameters") {
        let path = path.child("parameters");
        for name in ["kind", "name"] {
            if parameters.text(name).is_empty() {
                report.required(&path.child(name), format!("{name} is required").as_str());
            }
        }
        match (parameters.text("scope"), parameters.text("namespace")) {
            ("Namespace", "") => {
                report.required(&path.child("namespace"), "`parameters.scope` is set to 'Namespace'");
            }
            ("Cluster", namespace) if !namespace.is_empty() => {
                report.forbidden(&path.child("namespace"), "`parameters.scope` is set to 'Cluster'");
            }
            ("Namespace" | "Cluster", _) => {}
            (other, _) => report.not_supported(&path.child("scope"), other, &["Cluster", "Namespace"]),
        }
    }
}

pub(super) fn class_update(report: &mut Report, new: &Value, old: &Value) {
    let path = Path::new("spec").child("controller");
    report.immutable(&path, &new["spec"]["controller"], &old["spec"]["controller"]);
}

pub(super) fn ip_address(report: &mut Report, object: &Value) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let canonical = name.parse::<IpAddr>().is_ok_and(|address| address.to_string() == name);
    if !canonical {
        report.invalid(
            &Path::new("metadata").child("name"),
            name,
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        );
    }
    let (spec, path) = (&object["spec"], Path::new("spec").child("parentRef"));
    let Some(parent) = spec.part("parentRef") else { return report.required(&path, "") };
    for field in ["resource", "name"] {
        if parent.text(field).is_empty() {
            report.required(&path.child(field), "");
        }
    }
}

pub(super) fn ip_address_update(report: &mut Report, new: &Value, old: &Value) {
    report.immutable(&Path::new("spec"), &new["spec"], &old["spec"]);
}

pub(super) fn service_cidr(report: &mut Report, range: &Value) {
    let (spec, path) = (&range["spec"], Path::new("spec").child("cidrs"));
    match spec.list("cidrs").len() {
        0 => report.required(&path, "at least one CIDR required"),
        1 => {}
        count => {
            if count > 2 || !address::is_dual_stack_range(spec.texts("cidrs")) {
                let why = "may only hold up to 2 values, one for each IP family";
                report.invalid(&path, spec["cidrs"].clone(), why);
            }
        }
    }
    for (index, cidr) in spec.texts("cidrs").enumerate() {
        address::cidr(report, &path.index(index), cidr);
    }
}

pub(super) fn service_cidr_update(report: &mut Report, new: &Value, old: &Value) {
    report.immutable(&Path::new("spec").child("cidrs"), &new["spec"]["cidrs"], &old["spec"]["cidrs"]);
}

//! Ingresses and their classes, addresses of Services.

use serde_json::{Value, json};

use super::address;
use super::fields::{Fields, items};
use super::report::{IMMUTABLE, Report};
use crate::field::Path;
use crate::names;

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const CONTROLLER_MAX_BYTES: usize = 250;
const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];

pub(super) fn ingress(report: &mut Report, ingress: &Value) {
    let (spec, path) = (&ingress["spec"], Path::new("spec"));
    if spec.list("rules").is_empty() && spec.part("defaultBackend").is_none() {
        report.invalid(&path, spec["rules"].clone(), "either `defaultBackend` or `rules` must be specified");
    }
    if let Some(backend) = spec.part("defaultBackend") {
        self::backend(report, backend, &path.child("defaultBackend"));
    }
    for (path, rule) in items(spec, "rules", &path) {
        if !rule.text("host").is_empty() {
            not_an_address(report, rule.text("host"), &path.child("host"));
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
        if !tls.text("secretName").is_empty() {
            report.dns_subdomain(&path.child("secretName"), tls.text("secretName"));
        }
    }
    if spec.part("ingressClassName").is_some() {
        report.dns_subdomain(&path.child("ingressClassName"), spec.text("ingressClassName"));
    }
}

/// Two ways to say the class must agree; only a new Ingress is asked.
pub(super) fn new_ingress(report: &mut Report, ingress: &Value) {
    let said = ingress["metadata"]["annotations"].part(CLASS_ANNOTATION).and_then(Value::as_str);
    let (Some(said), Some(class)) = (said, ingress["spec"].part("ingressClassName")) else { return };
    if class != said {
        // The path is upstream's.
        let path = Path::new("annotations").child(CLASS_ANNOTATION);
        report.invalid(&path, said, "must match `ingressClassName` when both are specified");
    }
}

/// Where a load balancer takes traffic for an Ingress.
pub(super) fn status(report: &mut Report, ingress: &Value) {
    let (balancer, path) = (&ingress["status"]["loadBalancer"], Path::new("status").child("loadBalancer"));
    for (path, point) in items(balancer, "ingress", &path) {
        if !point.text("ip").is_empty() {
            address::ip(report, &path.child("ip"), point.text("ip"));
        }
        if !point.text("hostname").is_empty() {
            report.dns_subdomain(&path.child("hostname"), point.text("hostname"));
            not_an_address(report, point.text("hostname"), &path.child("hostname"));
        }
    }
}

fn host(report: &mut Report, host: &str, path: &Path) {
    if host.contains('*') {
        report.complaints(path, host, names::wildcard_subdomain(host));
    } else {
        report.dns_subdomain(path, host);
    }
}

fn not_an_address(report: &mut Report, host: &str, path: &Path) {
    if address::sloppy(host).is_some() {
        report.invalid(path, host, "must be a DNS name, not an IP address");
    }
}

fn http_path(report: &mut Report, at: &Value, path: &Path) {
    let text = at.text("path");
    match at.text("pathType") {
        "" if at.part("pathType").is_none() => {
            return report.required(&path.child("pathType"), "pathType must be specified");
        }
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                report.invalid(&path.child("path"), text, "must be an absolute path");
            }
            for odd in ["//", "/./", "/../", "%2f", "%2F"] {
                if text.contains(odd) {
                    report.invalid(&path.child("path"), text, format!("must not contain '{odd}'"));
                }
            }
            for odd in ["/..", "/."] {
                if text.ends_with(odd) {
                    report.invalid(&path.child("path"), text, format!("cannot end with '{odd}'"));
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
    let service = match (backend.part("service"), backend.part("resource")) {
        (Some(_), Some(_)) => {
            return report.invalid(path, "", "cannot set both resource and service backends");
        }
        (None, None) => return report.invalid(path, "", "resource or service backend is required"),
        (None, Some(resource)) => return local_reference(report, resource, &path.child("resource")),
        (Some(service), None) => service,
    };
    let at = path.child("service");
    match service.text("name") {
        "" => report.required(&at.child("name"), ""),
        name => report.complaints(&at.child("name"), name, names::dns_1035_label(name)),
    }
    let (port, at) = (&service["port"], at.child("port"));
    match (port.text("name"), port.number("number").unwrap_or_default()) {
        ("", 0) => report.required(path, "port name or number is required"),
        ("", number) => report.port_number(&at.child("number"), number),
        (name, 0) => report.complaints(&at.child("name"), name, names::port_name(name)),
        _ => report.invalid(path, "", "cannot set both port name & port number"),
    }
}

/// A reference to an object by group, kind and name.
fn local_reference(report: &mut Report, reference: &Value, path: &Path) {
    if reference.part("apiGroup").is_some() {
        report.dns_subdomain(&path.child("apiGroup"), reference.text("apiGroup"));
    }
    for name in ["kind", "name"] {
        match reference.text(name) {
            "" => report.required(&path.child(name), &format!("{name} is required")),
            given => report.complaints(&path.child(name), given, names::path_segment(given)),
        }
    }
}

pub(super) fn class(report: &mut Report, class: &Value) {
    let (spec, path) = (&class["spec"], Path::new("spec"));
    let controller = spec.text("controller");
    let at = path.child("controller");
    if controller.len() > CONTROLLER_MAX_BYTES {
        report.too_long(&at, CONTROLLER_MAX_BYTES);
    }
    match controller.split_once('/') {
        _ if controller.is_empty() => report.required(&at, ""),
        Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
            report.dns_subdomain(&at, domain);
            if !names::is_path(rest) {
                report.invalid(&at, rest, names::NOT_A_PATH);
            }
        }
        _ => {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            report.invalid(&at, controller, why);
        }
    }
    if let Some(parameters) = spec.part("parameters") {
        self::parameters(report, parameters, &path.child("parameters"));
    }
}

fn parameters(report: &mut Report, parameters: &Value, path: &Path) {
    local_reference(report, parameters, path);
    if parameters.part("scope").is_none() {
        return report.required(&path.child("scope"), "");
    }
    let (namespace, at) = (parameters.part("namespace"), path.child("namespace"));
    match (parameters.text("scope"), namespace) {
        ("Namespace", None) => report.required(&at, "`parameters.scope` is set to 'Namespace'"),
        ("Namespace", Some(_)) => report.dns_label(&at, parameters.text("namespace")),
        ("Cluster", Some(_)) => report.forbidden(&at, "`parameters.scope` is set to 'Cluster'"),
        ("Cluster", None) => {}
        (other, _) => report.not_supported(&path.child("scope"), other, &["Cluster", "Namespace"]),
    }
}

pub(super) fn class_update(report: &mut Report, new: &Value, old: &Value) {
    let path = Path::new("spec").child("controller");
    report.immutable(&path, &new["spec"]["controller"], &old["spec"]["controller"]);
}

pub(super) fn ip_address(report: &mut Report, object: &Value) {
    let name = object["metadata"].text("name");
    if !name.is_empty() {
        address::canonical_ip(report, &Path::new("metadata").child("name"), name);
    }
    let (spec, path) = (&object["spec"], Path::new("spec").child("parentRef"));
    let Some(parent) = spec.part("parentRef") else { return report.required(&path, "") };
    if !parent.text("group").is_empty() {
        report.dns_subdomain(&path.child("group"), parent.text("group"));
    }
    for field in ["resource", "name", "namespace"] {
        match parent.text(field) {
            "" if field == "namespace" => {}
            "" => report.required(&path.child(field), ""),
            given => report.complaints(&path.child(field), given, names::path_segment(given)),
        }
    }
}

pub(super) fn ip_address_update(report: &mut Report, new: &Value, old: &Value) {
    let path = Path::new("spec").child("parentRef");
    report.immutable(&path, &new["spec"]["parentRef"], &old["spec"]["parentRef"]);
}

pub(super) fn service_cidr(report: &mut Report, range: &Value) {
    let (spec, path) = (&range["spec"], Path::new("spec").child("cidrs"));
    match spec.list("cidrs").len() {
        0 => return report.required(&path, "at least one CIDR required"),
        1 | 2 => {}
        // Upstream shows its own type's field.
        _ => {
            let shown = json!({"CIDRs": spec["cidrs"]});
            return report.invalid(&path, shown, "may only hold up to 2 values");
        }
    }
    for (index, cidr) in spec.texts("cidrs").enumerate() {
        address::canonical_cidr(report, &path.index(index), cidr);
    }
    let families: Vec<bool> =
        spec.texts("cidrs").filter_map(address::range).map(|(address, _)| address.is_ipv6()).collect();
    if let [one, other] = families[..]
        && one == other
    {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        report.invalid(&path, spec["cidrs"].clone(), why);
    }
}

/// What an update may not change: a second range may come, the first one stays.
pub(super) fn service_cidr_update(report: &mut Report, new: &Value, old: &Value) {
    let path = Path::new("spec").child("cidrs");
    let (after, before) = (new["spec"].list("cidrs"), old["spec"].list("cidrs"));
    if after.len() != before.len() && (before.len(), after.len()) != (1, 2) {
        return report.invalid(&path, new["spec"]["cidrs"].clone(), IMMUTABLE);
    }
    for (index, (after, before)) in after.iter().zip(before).enumerate() {
        if after != before {
            report.invalid(&path.index(index), after.clone(), IMMUTABLE);
        }
    }
}

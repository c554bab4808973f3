//! Services.
//!
//! Not the allocation of addresses and ports, which happens between admission and this.

mod cluster_ip;
mod port;

use serde_json::Value;

use super::address;
use super::fields::{Fields, is_empty, items};
use super::labels;
use super::report::{IMMUTABLE, Report};
use crate::field::Path;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const POLICIES: &[&str] = &["Cluster", "Local"];
const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameZone", "PreferSameNode"];
const AFFINITY_SECONDS_MAX: i64 = 86_400;
const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// Everything but `metadata` itself.
pub(super) fn check(report: &mut Report, service: &Value) {
    let (spec, path) = (&service["spec"], Path::new("spec"));
    topology(report, service);
    if spec.list("ports").is_empty() && !is_headless(spec) && spec.text("type") != "ExternalName" {
        report.required(&path.child("ports"), "");
    }
    kind(report, spec, &path);
    port::all(report, spec, &path);
    labels::labels(report, &spec["selector"], &path.child("selector"));
    affinity(report, spec, &path);
    cluster_ip::check(report, spec, &path);
    let external = path.child("externalIPs");
    for (index, ip) in spec.texts("externalIPs").enumerate() {
        if address::ip(report, &external.index(index), ip).is_some() {
            address::not_special(report, &external.index(index), ip);
        }
    }
    report.one_of(&path.child("type"), spec.text("type"), TYPES);
    port::collisions(report, spec, &path);
    load_balancer(report, service, &path);
    traffic(report, spec, &path);
}

/// What an update may not change.
pub(super) fn update(report: &mut Report, new: &Value, old: &Value) {
    let (new, old, path) = (&new["spec"], &old["spec"], Path::new("spec"));
    cluster_ip::update(report, new, old, &path);
    let both = |test: fn(&Value) -> bool| test(new) && test(old);
    if both(is_load_balancer) && new["loadBalancerClass"] != old["loadBalancerClass"] {
        let class = new["loadBalancerClass"].clone();
        report.invalid(&path.child("loadBalancerClass"), class, "may not change once set");
    }
    if both(needs_health_check) && new["healthCheckNodePort"] != old["healthCheckNodePort"] {
        report.forbidden(&path.child("healthCheckNodePort"), IMMUTABLE);
    }
}

/// Status, which load balancers fill in.
pub(super) fn status(report: &mut Report, service: &Value) {
    let path = Path::new("status").child("loadBalancer");
    let status = &service["status"]["loadBalancer"];
    if !is_load_balancer(&service["spec"]) && !status.list("ingress").is_empty() {
        let why = "may only be used when `spec.type` is 'LoadBalancer'";
        report.forbidden(&path.child("ingress"), why);
        return;
    }
    for (path, ingress) in items(status, "ingress", &path) {
        let (ip, host) = (ingress.text("ip"), ingress.text("hostname"));
        if !ip.is_empty() {
            address::ip(report, &path.child("ip"), ip);
        }
        // Absent means VIP.
        let mode = path.child("ipMode");
        match (ingress.part("ipMode").and_then(Value::as_str), ip.is_empty()) {
            (Some(_), true) => report.forbidden(&mode, "may not be specified when `ip` is not set"),
            (Some(text), false) if !matches!(text, "VIP" | "Proxy") => {
                report.not_supported(&mode, text, &["Proxy", "VIP"]);
            }
            _ => {}
        }
        if !host.is_empty() {
            report.dns_subdomain(&path.child("hostname"), host);
            if address::sloppy(host).is_some() {
                let why = "must be a DNS name, not an IP address";
                report.invalid(&path.child("hostname"), host, why);
            }
        }
    }
}

fn is_headless(spec: &Value) -> bool {
    spec.list("clusterIPs").len() == 1 && spec["clusterIPs"][0] == "None"
}

fn is_load_balancer(spec: &Value) -> bool {
    spec.text("type") == "LoadBalancer"
}

/// Whether traffic reaches it from outside.
fn is_external(spec: &Value) -> bool {
    let by_address = spec.text("type") == "ClusterIP" && !spec.list("externalIPs").is_empty();
    matches!(spec.text("type"), "LoadBalancer" | "NodePort") || by_address
}

fn needs_health_check(spec: &Value) -> bool {
    is_load_balancer(spec) && spec.text("externalTrafficPolicy") == "Local"
}

fn topology(report: &mut Report, service: &Value) {
    let annotations = &service["metadata"]["annotations"];
    if let (Some(mode), Some(hints)) = (annotations.get(TOPOLOGY_MODE), annotations.get(TOPOLOGY_HINTS))
        && mode != hints
    {
        let path = Path::new("metadata").child("annotations").key(TOPOLOGY_MODE);
        let why = format!("must match annotations[{TOPOLOGY_HINTS}] when both are specified");
        report.invalid(&path, mode.clone(), why);
    }
}

/// What goes together with the type.
fn kind(report: &mut Report, spec: &Value, path: &Path) {
    let kind = spec.text("type");
    if matches!(kind, "LoadBalancer" | "NodePort") && is_headless(spec) {
        let why = format!("may not be set to 'None' for {kind} services");
        report.invalid(&path.child("clusterIPs").index(0), "None", why);
    }
    if kind != "ExternalName" {
        return;
    }
    for name in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if !is_empty(&spec[name]) {
            report.forbidden(&path.child(name), "may not be set for ExternalName services");
        }
    }
    let name = spec.text("externalName");
    match name.strip_suffix('.').unwrap_or(name) {
        "" => report.required(&path.child("externalName"), ""),
        name => report.dns_subdomain(&path.child("externalName"), name),
    }
}

fn affinity(report: &mut Report, spec: &Value, path: &Path) {
    let kind = spec.text("sessionAffinity");
    report.one_of(&path.child("sessionAffinity"), kind, &["ClientIP", "None"]);
    let path = path.child("sessionAffinityConfig");
    let config = spec.part("sessionAffinityConfig");
    if kind == "None" && config.is_some() {
        report.forbidden(&path, "must not be set when session affinity is None");
    }
    if kind != "ClientIP" {
        return;
    }
    const WHEN: &str = "when session affinity type is ClientIP";
    let client = path.child("clientIP");
    let seconds_path = client.child("timeoutSeconds");
    let Some(config) = config else { return report.required(&path, WHEN) };
    let Some(config) = config.part("clientIP") else { return report.required(&client, WHEN) };
    match config.number("timeoutSeconds") {
        None => report.required(&seconds_path, WHEN),
        Some(seconds) if !(1..=AFFINITY_SECONDS_MAX).contains(&seconds) => {
            let why = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
            report.invalid(&seconds_path, seconds, why);
        }
        Some(_) => {}
    }
}

fn load_balancer(report: &mut Report, service: &Value, path: &Path) {
    let spec = &service["spec"];
    let outside = !is_load_balancer(spec);
    let annotation = service["metadata"]["annotations"].get(SOURCE_RANGES);
    if !spec.list("loadBalancerSourceRanges").is_empty() {
        // The capital letter is upstream's.
        let path = path.child("LoadBalancerSourceRanges");
        if outside {
            report.forbidden(&path, ONLY_LOAD_BALANCER);
        }
        for (index, range) in spec.texts("loadBalancerSourceRanges").enumerate() {
            address::cidr(report, &path.index(index), range.trim());
        }
    } else if let Some(ranges) = annotation.and_then(Value::as_str) {
        let path = Path::new("metadata").child("annotations").key(SOURCE_RANGES);
        if outside {
            report.forbidden(&path, ONLY_LOAD_BALANCER);
        }
        for range in ranges.trim().split(',').filter(|_| !ranges.trim().is_empty()) {
            address::cidr(report, &path, range.trim());
        }
    }
    match (spec.part("allocateLoadBalancerNodePorts"), outside) {
        (Some(_), true) => {
            report.forbidden(&path.child("allocateLoadBalancerNodePorts"), ONLY_LOAD_BALANCER);
        }
        (None, false) => report.required(&Path::new("allocateLoadBalancerNodePorts"), ""),
        _ => {}
    }
    if let Some(class) = spec.part("loadBalancerClass").and_then(Value::as_str) {
        let path = path.child("loadBalancerClass");
        match outside {
            true => report.forbidden(&path, ONLY_LOAD_BALANCER),
            false => report.qualified_name(&path, class),
        }
    }
}

fn traffic(report: &mut Report, spec: &Value, path: &Path) {
    let external = spec.text("externalTrafficPolicy");
    let external_path = path.child("externalTrafficPolicy");
    if is_external(spec) {
        report.one_of(&external_path, external, POLICIES);
    } else if !external.is_empty() {
        let why = "may only be set for externally-accessible services";
        report.invalid(&external_path, external, why);
    }
    let port = spec.number("healthCheckNodePort").unwrap_or_default();
    let port_path = path.child("healthCheckNodePort");
    match (needs_health_check(spec), port) {
        (false, 0) => {}
        (false, port) => {
            let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            report.invalid(&port_path, port, why);
        }
        (true, 0) => report.required(&port_path, ""),
        (true, port) => report.port_number(&port_path, port),
    }
    let internal = path.child("internalTrafficPolicy");
    match spec.part("internalTrafficPolicy").and_then(Value::as_str) {
        None if matches!(spec.text("type"), "ClusterIP" | "LoadBalancer" | "NodePort") => {
            report.required(&internal, "");
        }
        Some(policy) if !POLICIES.contains(&policy) => report.not_supported(&internal, policy, POLICIES),
        _ => {}
    }
    if let Some(wish) = spec.part("trafficDistribution").and_then(Value::as_str)
        && !DISTRIBUTIONS.contains(&wish)
    {
        report.not_supported(&path.child("trafficDistribution"), wish, DISTRIBUTIONS);
    }
}

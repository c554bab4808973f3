//! Status of a pod: what the kubelet may report about one that lives.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::super::address;
use super::super::fields::{Fields, items};
use super::super::metadata;
use super::super::report::Report;
use super::{annotations, node_name, security};
use crate::field::Path;

/// The lists of statuses and those of the containers that they are about.
const CONTAINERS: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];
const HEALTH: &[&str] = &["Healthy", "Unhealthy", "Unknown"];
/// What is said of a device is at most this long.
const MESSAGE_MAX: usize = 1024;
const SYSTEM_CONDITIONS: &[&str] = &["PodScheduled", "Ready", "Initialized"];

/// A write to the `status` subresource.
pub(in super::super) fn status(report: &mut Report, new: &Value, old: &Value) {
    let path = Path::new("metadata");
    metadata::update(report, &new["metadata"], &old["metadata"], &path);
    let annotations_path = path.child("annotations");
    let (after, before) = (&new["metadata"]["annotations"], &old["metadata"]["annotations"]);
    annotations::update(report, after, before, &annotations_path);
    annotations::check(report, after, &new["spec"], &annotations_path);
    let path = Path::new("status");
    for (path, condition) in items(&new["status"], "conditions", &path) {
        observed(report, condition, &path);
        if !SYSTEM_CONDITIONS.contains(&condition.text("type")) {
            report.qualified_name(&path.child("Type"), condition.text("type"));
        }
    }
    if new["spec"].text("nodeName") != old["spec"].text("nodeName") {
        report.forbidden(&path.child("nodeName"), "may not be changed directly");
    }
    let (status, before) = (&new["status"], &old["status"]);
    let nominated = status.text("nominatedNodeName");
    if nominated != before.text("nominatedNodeName") && !nominated.is_empty() {
        let path = path.child("nominatedNodeName");
        node_name(report, &path, nominated);
        if !old["spec"].text("nodeName").is_empty() {
            report.forbidden(&path, "may not be set on pods that are already bound to a node");
        }
    }
    observed(report, status, &path);
    let class = path.child("qosClass");
    if status.text("qosClass") != before.text("qosClass") {
        report.invalid(&class, status.text("qosClass"), super::super::report::IMMUTABLE);
    }
    restarts(report, status, before, &old["spec"], &path);
    claims(report, status, &new["spec"], &path);
    addresses(report, status, before, &path);
    users(report, status, &new["spec"], &path);
    devices(report, status, &new["spec"], &path);
}

fn observed(report: &mut Report, of: &Value, path: &Path) {
    if let Some(generation) = of.number("observedGeneration").filter(|generation| *generation < 0) {
        report.invalid(&path.child("observedGeneration"), generation, "must be a non-negative integer");
    }
}

/// A container that has ended for good does not come back.
fn restarts(report: &mut Report, new: &Value, old: &Value, spec: &Value, path: &Path) {
    let all_may =
        [CONTAINERS[0].1, CONTAINERS[1].1].iter().flat_map(|list| spec.list(list)).any(|container| {
            let mut rules = container.list("restartPolicyRules").iter();
            rules.any(|rule| rule.text("action") == "RestartAllContainers")
        });
    for (list, of) in CONTAINERS {
        if all_may && of != "ephemeralContainers" {
            continue;
        }
        let containers = by_name(spec.list(of));
        let after = by_name(new.list(list));
        for (index, before) in old.list(list).iter().enumerate() {
            let Some(end) = before["state"].part("terminated") else { continue };
            let name = before.text("name");
            let Some(after) = after.get(name) else { continue };
            let code = end.number("exitCode").unwrap_or_default();
            let restarts = of != "ephemeralContainers"
                && containers.get(name).is_some_and(|container| restarts_after(container, spec, code));
            if after["state"].part("terminated").is_none() && !restarts {
                let path = path.child(list).index(index).child("state");
                report.forbidden(&path, "may not be transitioned to non-terminated state");
            }
        }
    }
}

/// By its own rules, else by its own policy, else by the pod's.
fn restarts_after(container: &Value, spec: &Value, code: i64) -> bool {
    let matches = |rule: &Value| {
        let codes = &rule["exitCodes"];
        let listed = codes.list("values").iter().any(|value| value.as_i64() == Some(code));
        (codes.text("operator") == "In" && listed) || (codes.text("operator") == "NotIn" && !listed)
    };
    let own = container.text("restartPolicy");
    if !own.is_empty() && container.list("restartPolicyRules").iter().any(matches) {
        return true;
    }
    match if own.is_empty() { spec.text("restartPolicy") } else { own } {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    }
}

/// The first of each name.
fn by_name(list: &[Value]) -> HashMap<&str, &Value> {
    list.iter().rev().map(|item| (item.text("name"), item)).collect()
}

/// Claims that were made for a pod.
fn claims(report: &mut Report, status: &Value, spec: &Value, path: &Path) {
    let wanted = by_name(spec.list("resourceClaims"));
    let mut seen = HashSet::new();
    for (path, claim) in items(status, "resourceClaimStatuses", path) {
        let (name, name_path) = (claim.text("name"), path.child("name"));
        if !wanted.contains_key(name) {
            report.invalid(&name_path, name, "must match the name of an entry in `spec.resourceClaims`");
        }
        if !seen.insert(name) {
            report.duplicate(&name_path, name);
        }
        if claim.part("resourceClaimName").is_some() {
            report.dns_subdomain(&path.child("resourceClaimName"), claim.text("resourceClaimName"));
        }
    }
    let Some(extended) = status.part("extendedResourceClaimStatus") else { return };
    extended_claim(report, extended, spec, &path.child("extendedResourceClaimStatus"));
}

/// The claim that stands for extended resources.
fn extended_claim(report: &mut Report, extended: &Value, spec: &Value, path: &Path) {
    let mut containers = by_name(spec.list("initContainers"));
    containers.extend(by_name(spec.list("containers")));
    if extended.list("requestMappings").is_empty() {
        report.required(&path.child("requestMappings"), "at least one request mapping is required");
    }
    let mut seen = HashSet::new();
    for (mapping_path, mapping) in items(extended, "requestMappings", path) {
        let names = ["containerName", "resourceName", "requestName"];
        let [container, resource, request] = names.map(|name| mapping.text(name));
        match containers.get(container) {
            None => {
                let why =
                    "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                report.invalid(&mapping_path.child("containerName"), container, why);
            }
            Some(container) if container["resources"]["requests"].get(resource).is_none() => {
                let why = "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests";
                report.invalid(&mapping_path.child("resourceName"), resource, why);
            }
            Some(_) => {}
        }
        // The path is upstream's.
        report.dns_label(&path.child("requestName"), request);
        if !seen.insert([container, resource, request]) {
            names.iter().for_each(|name| report.duplicate(&mapping_path.child(name), mapping.text(name)));
        }
    }
    match extended.text("resourceClaimName") {
        "" => report.required(&path.child("resourceClaimName"), ""),
        name => report.dns_subdomain(&path.child("resourceClaimName"), name),
    }
}

/// Who a container's first process is.
fn users(report: &mut Report, status: &Value, spec: &Value, path: &Path) {
    for (list, _) in CONTAINERS {
        for (path, container) in items(status, list, path) {
            let Some(user) = container["user"].part("linux") else { continue };
            let path = path.child("user").child("linux");
            match spec["os"].text("name") {
                "windows" => report.forbidden(&path, "cannot be set for a windows pod"),
                "" | "linux" => {
                    for name in ["uid", "gid"] {
                        let id = user.number(name).unwrap_or_default();
                        report.in_range(&path.child(name), id, 0, security::ID_MAX);
                    }
                    let groups = path.child("supplementalGroups");
                    for (index, group) in user.list("supplementalGroups").iter().enumerate() {
                        let group = group.as_i64().unwrap_or_default();
                        report.in_range(&groups.index(index), group, 0, security::ID_MAX);
                    }
                }
                _ => {}
            }
        }
    }
}

/// How the devices of containers are.
fn devices(report: &mut Report, status: &Value, spec: &Value, path: &Path) {
    const FIELD: &str = "allocatedResourcesStatus";
    for (list, of) in CONTAINERS {
        let containers = by_name(spec.list(of));
        for (path, container) in items(status, list, path) {
            if of == "ephemeralContainers" {
                if !container.list(FIELD).is_empty() {
                    report.forbidden(&path.child(FIELD), "must not be specified in container status");
                }
                continue;
            }
            let resources = containers.get(container.text("name")).map(|container| &container["resources"]);
            let claims = resources.map(claims_of).unwrap_or_default();
            for (path, resource) in items(container, FIELD, &path) {
                let name = resource.text("name");
                let (known, why) = if name.starts_with("claim:") {
                    let why = "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty";
                    (claims.contains(name), why)
                } else {
                    let requests = resources.map(|resources| &resources["requests"]);
                    let known = requests.is_some_and(|requests| requests.get(name).is_some());
                    (known, "must match one of the container's resource requests")
                };
                if resources.is_some() && !known {
                    report.invalid(&path.child("name"), name, why);
                }
                health(report, resource, &path);
            }
        }
    }
}

fn claims_of(resources: &Value) -> HashSet<String> {
    let key = |claim: &Value| match (claim.text("name"), claim.text("request")) {
        (name, "") => format!("claim:{name}"),
        (name, request) => format!("claim:{name}/{request}"),
    };
    resources.list("claims").iter().map(key).collect()
}

fn health(report: &mut Report, resource: &Value, path: &Path) {
    let mut seen = HashSet::new();
    for (path, device) in items(resource, "resources", path) {
        let health = device.text("health");
        if !HEALTH.contains(&health) {
            report.not_supported(&path.child("health"), health, HEALTH);
        }
        if device.part("message").is_some() {
            let path = path.child("message");
            match device.text("message").len() {
                0 => report.required(&path, "must be non-empty if specified"),
                1..=MESSAGE_MAX => {}
                _ => report.too_long(&path, MESSAGE_MAX),
            }
        }
        if !seen.insert(device.text("resourceID")) {
            report.duplicate(&path.child("resourceID"), device.text("resourceID"));
        }
    }
}

fn addresses(report: &mut Report, status: &Value, old: &Value, path: &Path) {
    let first = status.list("hostIPs").first().map(|item| item.text("ip"));
    if let Some(first) = first.filter(|first| *first != status.text("hostIP")) {
        let path = path.child("hostIPs").index(0).child("ip");
        report.invalid(&path, first, "must be equal to `hostIP`");
    }
    for list in ["podIPs", "hostIPs"] {
        let all = status.list(list);
        // What was there may stay, however it is spelled.
        let known: HashSet<&str> = old.list(list).iter().map(|item| item.text("ip")).collect();
        for (path, item) in items(status, list, path).filter(|(_, item)| !known.contains(item.text("ip"))) {
            address::ip(report, &path, item.text("ip"));
        }
        if all.len() > 1 {
            if all.len() > 2 || !address::is_dual_stack(all.iter().map(|item| item.text("ip"))) {
                let why = "may specify no more than one IP for each IP family";
                report.invalid(&path.child(list), status[list].clone(), why);
            }
            let mut seen = HashSet::new();
            for (path, item) in items(status, list, path) {
                if !seen.insert(item.text("ip")) {
                    report.duplicate(&path, item.clone());
                }
            }
        }
    }
}

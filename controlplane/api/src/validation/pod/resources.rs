//! What containers and pods request: names and amounts of resources, and resource claims.

use std::collections::HashSet;

use serde_json::Value;

use super::super::fields::{Fields, items, parse_quantity};
use super::super::report::Report;
use super::{MIRROR, Whole, qos};
use crate::field::{ErrorType, FieldError, Path};
use crate::names;
use crate::quantity::Quantity;

const HUGE_PAGES: &str = "hugepages-";
const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "storage",
    "requests.storage",
];
/// Resources that only come in whole numbers.
const COUNTED: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
/// Names of claims that one complaint lists are at most this long together.
const SHOWN_MAX_BYTES: usize = 4096;
const POD_LEVEL: &[&str] = &["cpu", "hugepages-", "memory"];

#[derive(Clone, Copy)]
enum Level {
    Container,
    Pod,
}

/// `resources` of a container.
pub(super) fn of_container(report: &mut Report, whole: &Whole<'_>, resources: &Value, path: &Path) {
    requirements(report, whole, resources, Level::Container, path);
}

/// `overhead`: checked like limits.
pub(super) fn overhead(report: &mut Report, whole: &Whole<'_>, path: &Path) {
    let as_limits = serde_json::json!({ "limits": whole.spec["overhead"].clone() });
    requirements(report, whole, &as_limits, Level::Container, path);
}

/// `resources` of a whole pod: at least what its containers request together, no container above its limits.
pub(super) fn of_pod(report: &mut Report, whole: &Whole<'_>, path: &Path) {
    let path = path.child("resources");
    let Some(resources) = whole.spec.part("resources") else { return };
    if whole.is_for("windows") {
        report.forbidden(&path, "may not be set for a windows pod");
        return;
    }
    if resources.part("claims").is_some() {
        report.forbidden(&path.child("claims"), "claims may not be set for Resources at pod-level");
    }
    requirements(report, whole, resources, Level::Pod, &path);
    for kind in ["requests", "limits"] {
        for (name, total) in qos::of_containers(whole.spec, kind) {
            // Of limits only whole pages are added up: nothing else is certain to be there.
            let counts = kind == "requests" || name.starts_with(HUGE_PAGES);
            let own = resources[kind].quantity(&name).filter(|_| counts);
            if let Some(own) = own.filter(|own| total > *own) {
                let why = format!("must be greater than or equal to aggregate container {kind} of {total}");
                report.invalid(&path.child(kind).key(&name), own.to_string(), why);
            }
        }
    }
    for (index, container) in whole.spec.list("containers").iter().enumerate() {
        for (name, limit) in container["resources"].entries("limits") {
            let (Some(limit), Some(most)) = (parse_quantity(limit), resources["limits"].quantity(name))
            else {
                continue;
            };
            if limit > most {
                let path = path.child("containers").index(index).key(name).child("limits");
                let why = format!("must be less than or equal to pod limits of {most}");
                report.invalid(&path, limit.to_string(), why);
            }
        }
    }
}

/// Overhead that a class of runtimes has: checked like limits, and said to be some.
pub(in super::super) fn class_overhead(report: &mut Report, fixed: &Value, path: &Path) {
    amounts(report, &serde_json::json!({ "limits": fixed }), Level::Container, path);
}

fn requirements(report: &mut Report, whole: &Whole<'_>, resources: &Value, level: Level, path: &Path) {
    amounts(report, resources, level, path);
    claims(report, whole, resources, &path.child("claims"));
}

fn amounts(report: &mut Report, resources: &Value, level: Level, path: &Path) {
    let (limits, requests) = (path.child("limits"), path.child("requests"));
    let (mut compute, mut huge) = (false, false);
    for (name, amount) in resources.entries("limits") {
        amount_of(report, name, amount, level, &limits.key(name));
        compute |= matches!(name, "cpu" | "memory");
        huge |= name.starts_with(HUGE_PAGES);
    }
    for (name, amount) in resources.entries("requests") {
        let Some(amount) = amount_of(report, name, amount, level, &requests.key(name)) else { continue };
        compute |= matches!(name, "cpu" | "memory");
        huge |= name.starts_with(HUGE_PAGES);
        match resources["limits"].quantity(name) {
            Some(limit) if amount != limit && !may_overcommit(name) => {
                let why = format!("must be equal to {name} limit of {limit}");
                report.invalid(&requests, amount.to_string(), why);
            }
            Some(limit) if amount > limit => {
                let why = format!("must be less than or equal to {name} limit of {limit}");
                report.invalid(&requests, amount.to_string(), why);
            }
            None if !may_overcommit(name) => {
                report.required(&limits, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
    }
    if huge && !compute {
        report.forbidden(path, "HugePages require cpu or memory");
    }
}

/// One resource of a list: its name, its amount, whole pages.
fn amount_of(report: &mut Report, name: &str, amount: &Value, level: Level, path: &Path) -> Option<Quantity> {
    match level {
        Level::Container => container_name(report, name, path),
        Level::Pod => pod_name(report, name, path),
    }
    let amount = parse_quantity(amount)?;
    quantity(report, name, &amount, path);
    if let Some(size) = name.strip_prefix(HUGE_PAGES) {
        let size = Quantity::parse(size).map(|size| size.units()).unwrap_or_default();
        if size <= 0 || amount.units() % size != 0 {
            let why = format!("{amount} is not positive integer multiple of {name}");
            report.invalid(path, amount.to_string(), why);
        }
    }
    Some(amount)
}

/// An amount of a resource: not negative, and whole where the resource is counted.
pub(in super::super) fn quantity(report: &mut Report, name: &str, amount: &Quantity, path: &Path) {
    report.non_negative_quantity(path, amount);
    if (COUNTED.contains(&name) || is_extended(name)) && amount.millis() % 1000 != 0 {
        report.invalid(path, amount.to_string(), "must be an integer");
    }
}

/// Any resource name; false when it cannot even be one.
pub(in super::super) fn name(report: &mut Report, name: &str, path: &Path) -> bool {
    let complaints = names::qualified_name(name);
    if !complaints.is_empty() {
        report.complaints(path, name, complaints);
        return false;
    }
    let quota = name.strip_prefix("requests.").unwrap_or(name).starts_with(HUGE_PAGES);
    if !name.contains('/') && !STANDARD.contains(&name) && !COUNTED.contains(&name) && !quota {
        report.invalid(path, name, "must be a standard resource type or fully qualified");
        return false;
    }
    true
}

/// The name of what a container may request.
pub(in super::super) fn container_name(report: &mut Report, resource: &str, path: &Path) {
    name(report, resource, path);
    if !resource.contains('/') {
        let standard = matches!(resource, "cpu" | "memory" | "ephemeral-storage");
        if !standard && !resource.starts_with(HUGE_PAGES) {
            report.invalid(path, resource, "must be a standard resource for containers");
        }
    } else if !is_native(resource) && !is_extended(resource) {
        report.invalid(path, resource, "doesn't follow extended resource name standard");
    }
}

fn pod_name(report: &mut Report, resource: &str, path: &Path) {
    if name(report, resource, path) && !is_pod_level(resource) {
        report.not_supported(path, resource, POD_LEVEL);
    }
}

fn is_pod_level(resource: &str) -> bool {
    matches!(resource, "cpu" | "memory") || resource.starts_with(HUGE_PAGES)
}

fn is_native(resource: &str) -> bool {
    !resource.contains('/') || resource.contains("kubernetes.io/")
}

fn is_extended(resource: &str) -> bool {
    !is_native(resource)
        && !resource.starts_with("requests.")
        && names::qualified_name(&format!("requests.{resource}")).is_empty()
}

/// Whether more may be limited than is requested.
pub(in super::super) fn may_overcommit(resource: &str) -> bool {
    is_native(resource) && !resource.starts_with(HUGE_PAGES)
}

/// References of a container to the claims of its pod.
fn claims(report: &mut Report, whole: &Whole<'_>, resources: &Value, path: &Path) {
    let (mut seen, mut in_part) = (HashSet::new(), HashSet::new());
    let mut known = None;
    for (index, claim) in resources.list("claims").iter().enumerate() {
        let path = path.index(index);
        let (name, request) = (claim.text("name"), claim.text("request"));
        if name.is_empty() {
            report.required(&path, "");
            continue;
        }
        if seen.contains(&(name, "")) {
            report.duplicate(&path, name);
        } else {
            if !request.is_empty() {
                report.dns_label(&path.child("request"), request);
            }
            let again = seen.contains(&(name, request));
            if again || (request.is_empty() && in_part.contains(name)) {
                let key = if request.is_empty() { name.to_owned() } else { format!("{name}/{request}") };
                report.duplicate(&path, key);
            }
            if !request.is_empty() {
                in_part.insert(name);
            }
            seen.insert((name, request));
        }
        if !whole.claims.contains(name) {
            let why = known.get_or_insert_with(|| names_of_claims(whole)).as_str();
            report.push(FieldError::new(ErrorType::NotFound, &path, Some(name.into()), why));
        }
    }
}

fn names_of_claims(whole: &Whole<'_>) -> String {
    let mut known: Vec<&str> = whole.claims.iter().copied().collect();
    known.sort_unstable();
    let mut why = "must be one of the names in pod.spec.resourceClaims".to_owned();
    if known.is_empty() {
        why.push_str(" which is empty");
    }
    for (index, name) in known.into_iter().enumerate() {
        if why.len() + name.len() > SHOWN_MAX_BYTES {
            why.push_str(", ...");
            break;
        }
        why.push_str(if index == 0 { ": " } else { ", " });
        why.push_str(name);
    }
    why
}

/// `resourceClaims` of a pod.
pub(super) fn pod_claims(report: &mut Report, whole: &Whole<'_>, path: &Path) {
    let is_static = whole.metadata.is_some_and(|metadata| metadata["annotations"].get(MIRROR).is_some());
    if is_static && !whole.spec.list("resourceClaims").is_empty() {
        report.forbidden(&Path::default(), "static pods do not support resource claims");
        return;
    }
    let mut names = HashSet::new();
    for (path, claim) in items(whole.spec, "resourceClaims", path) {
        match claim.text("name") {
            "" => report.required(&path.child("name"), ""),
            name if names.contains(name) => report.duplicate(&path.child("name"), name),
            name => {
                report.dns_label(&path.child("name"), name);
                names.insert(name);
            }
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        match sources.iter().filter(|source| claim.part(source).is_some()).count() {
            0 => {
                let why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                report.invalid(&path, claim.clone(), why);
            }
            1 => {}
            _ => {
                let why =
                    "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                report.invalid(&path, claim.clone(), why);
            }
        }
        for source in sources {
            if claim.part(source).is_some() {
                report.dns_subdomain(&path.child(source), claim.text(source));
            }
        }
    }
}

//! Containers: what all of them must have, and what regular and init containers may.
//!
//! Ephemeral containers are in `ephemeral`.

use std::collections::HashSet;

use serde_json::Value;

use super::super::fields::{Fields, items};
use super::super::report::{PROTOCOLS, Report};
use super::{Whole, environment, mount, probe, resources, security};
use crate::field::Path;
use crate::names;

pub(super) const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const RESTART_POLICIES: &[&str] = &["Always", "Never", "OnFailure"];
const RESTART_ACTIONS: &[&str] = &["Restart", "RestartAllContainers"];
const RESTART_RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

/// Regular containers.
pub(super) fn all(report: &mut Report, whole: &Whole<'_>, path: &Path) {
    let list = path.child("containers");
    if whole.spec.list("containers").is_empty() {
        report.required(&list, "");
        return;
    }
    let mut names = HashSet::new();
    for (path, container) in items(whole.spec, "containers", path) {
        common(report, whole, container, &path);
        if !names.insert(container.text("name")) {
            report.duplicate(&path.child("name"), container.text("name"));
        }
        probe::lifecycle(report, whole, container, &path);
        probe::all(report, container, &path);
        restart_policy(report, container, &path);
    }
    host_ports(report, whole.spec.list("containers"), &list);
}

/// Init containers: those that restart always are sidecars and have what regular ones have.
pub(super) fn init(report: &mut Report, whole: &Whole<'_>, path: &Path) {
    let list = path.child("initContainers");
    let mut names: HashSet<&str> =
        whole.spec.list("containers").iter().map(|container| container.text("name")).collect();
    for (path, container) in items(whole.spec, "initContainers", path) {
        common(report, whole, container, &path);
        restart_policy(report, container, &path);
        let name = container.text("name");
        if names.contains(name) {
            report.duplicate(&path.child("name"), name);
        } else if !name.is_empty() {
            names.insert(name);
        }
        host_ports(report, std::slice::from_ref(container), &list);
        if is_sidecar(container) {
            probe::lifecycle(report, whole, container, &path);
            probe::all(report, container, &path);
            continue;
        }
        for name in std::iter::once("lifecycle").chain(PROBES) {
            if container.part(name).is_some() {
                let why = "may not be set for init containers without restartPolicy=Always";
                report.forbidden(&path.child(name), why);
            }
        }
        for (path, policy) in items(container, "resizePolicy", &path) {
            if policy.text("restartPolicy") == "RestartContainer" {
                let why = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                report.invalid(&path.child("restartPolicy"), "RestartContainer", why);
            }
        }
    }
}

/// Whether an init container runs beside the regular ones.
pub(super) fn is_sidecar(container: &Value) -> bool {
    container.text("restartPolicy") == "Always"
}

/// What every container must be, ephemeral ones too.
pub(super) fn common(report: &mut Report, whole: &Whole<'_>, container: &Value, path: &Path) {
    match container.text("name") {
        "" => report.required(&path.child("name"), ""),
        name => report.dns_label(&path.child("name"), name),
    }
    if container.text("image").is_empty() {
        report.required(&path.child("image"), "");
    }
    report.one_of(
        &path.child("terminationMessagePolicy"),
        container.text("terminationMessagePolicy"),
        &["File", "FallbackToLogsOnError"],
    );
    ports(report, container, path);
    environment::variables(report, container, path);
    environment::sources(report, container, path);
    mount::mounts(report, whole, container, path);
    mount::devices(report, whole, container, path);
    report.one_of(&path.child("imagePullPolicy"), container.text("imagePullPolicy"), PULL_POLICIES);
    resources::of_container(report, whole, &container["resources"], &path.child("resources"));
    resize_policy(report, whole, container, &path.child("resizePolicy"));
    if let Some(context) = container.part("securityContext") {
        security::of_container(report, whole, context, &path.child("securityContext"));
    }
}

/// A template may have any image text; a pod's is one word.
pub(super) fn image_in_pod(report: &mut Report, container: &Value, path: &Path) {
    let image = container.text("image");
    if image.trim().len() != image.len() {
        report.invalid(&path.child("image"), image, "must not have leading or trailing whitespace");
    }
}

fn ports(report: &mut Report, container: &Value, path: &Path) {
    let mut seen = HashSet::new();
    for (path, port) in items(container, "ports", path) {
        let name = port.text("name");
        if !name.is_empty() {
            let complaints = names::port_name(name);
            if complaints.is_empty() && !seen.insert(name) {
                report.duplicate(&path.child("name"), name);
            }
            report.complaints(&path.child("name"), name, complaints);
        }
        match port.number("containerPort").unwrap_or_default() {
            0 => report.required(&path.child("containerPort"), ""),
            number => report.port_number(&path.child("containerPort"), number),
        }
        if let Some(number) = port.number("hostPort").filter(|number| *number != 0) {
            report.port_number(&path.child("hostPort"), number);
        }
        report.one_of(&path.child("protocol"), port.text("protocol"), PROTOCOLS);
    }
}

/// A port of the host is given once.
fn host_ports(report: &mut Report, containers: &[Value], path: &Path) {
    let mut taken = HashSet::new();
    for (index, container) in containers.iter().enumerate() {
        for (path, port) in items(container, "ports", &path.index(index)) {
            let Some(number) = port.number("hostPort").filter(|number| *number != 0) else { continue };
            let key = format!("{}/{}/{number}", port.text("protocol"), port.text("hostIP"));
            if taken.contains(&key) {
                report.duplicate(&path.child("hostPort"), key);
            } else {
                taken.insert(key);
            }
        }
    }
}

fn restart_policy(report: &mut Report, container: &Value, path: &Path) {
    let rules = container.list("restartPolicyRules");
    let policy_path = path.child("restartPolicy");
    let Some(policy) = container.part("restartPolicy").and_then(Value::as_str) else {
        if !rules.is_empty() {
            report.required(&policy_path, "must specify restartPolicy when restart rules are used");
        }
        return;
    };
    if !RESTART_POLICIES.contains(&policy) {
        report.not_supported(&policy_path, policy, RESTART_POLICIES);
    }
    if rules.len() > RESTART_RULES_MAX {
        report.too_many(&path.child("restartPolicyRules"), rules.len(), RESTART_RULES_MAX);
    }
    for (path, rule) in items(container, "restartPolicyRules", path) {
        let action = rule.text("action");
        if !RESTART_ACTIONS.contains(&action) {
            report.not_supported(&path.child("action"), action, RESTART_ACTIONS);
        }
        let path = path.child("exitCodes");
        let Some(codes) = rule.part("exitCodes") else {
            report.required(&path, "must be specified");
            continue;
        };
        if !matches!(codes.text("operator"), "In" | "NotIn") {
            report.not_supported(&path.child("operator"), codes.text("operator"), &["In", "NotIn"]);
        }
        if codes.list("values").len() > EXIT_CODES_MAX {
            report.too_many(&path.child("values"), codes.list("values").len(), EXIT_CODES_MAX);
        }
    }
}

fn resize_policy(report: &mut Report, whole: &Whole<'_>, container: &Value, path: &Path) {
    let mut seen = HashSet::new();
    for (index, policy) in container.list("resizePolicy").iter().enumerate() {
        let (resource, restart) = (policy.text("resourceName"), policy.text("restartPolicy"));
        if !seen.insert(resource) {
            report.duplicate(&path.index(index), resource);
        }
        report.one_of(path, resource, &["cpu", "memory"]);
        report.one_of(path, restart, &["NotRequired", "RestartContainer"]);
        if whole.restart_policy() == "Never" && restart != "NotRequired" {
            report.invalid(path, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
        }
    }
}

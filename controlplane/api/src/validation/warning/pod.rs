//! Warnings about pods and pod templates.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::super::fields::{Fields, items};
use crate::field::{Path, quote};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
/// Label, release since which it is deprecated, successor.
const OLD_LABELS: &[(&str, &str, &str)] = &[
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "v1.17", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "v1.17", "topology.kubernetes.io/zone"),
    ("beta.kubernetes.io/instance-type", "v1.17", "node.kubernetes.io/instance-type"),
];
const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];
const OLD_VOLUMES: &[(&str, &str, &str)] = &[
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// `path` is empty for a pod, else where the template stands.
pub(super) fn warnings(out: &mut Vec<String>, pod: &Value, path: &Path) {
    let (spec, spec_path) = (&pod["spec"], path.child("spec"));
    labels(out, spec, &spec_path);
    let annotations_path = path.child("metadata").child("annotations");
    let annotations = &pod["metadata"]["annotations"];
    for (key, why) in OLD_ANNOTATIONS.iter().filter(|(key, _)| annotations.get(key).is_some()) {
        out.push(format!("{}: {why}", annotations_path.key(key)));
    }
    for (path, volume) in items(spec, "volumes", &spec_path) {
        for (kind, shown, why) in OLD_VOLUMES.iter().filter(|(kind, ..)| volume.part(kind).is_some()) {
            let _ = kind;
            out.push(format!("{}: {why}", path.child(shown)));
        }
    }
    doubles(out, spec, &spec_path);
    fractions(out, &spec["overhead"], &spec_path.child("overhead"));
    if spec["securityContext"].part("seccompProfile").is_none() && annotations.get(SECCOMP_POD).is_some() {
        out.push(seccomp(&annotations_path.key(SECCOMP_POD)));
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (path, container) in items(spec, list, &spec_path) {
            profile_annotations(out, pod, container, &annotations_path, !spec_path.as_str().eq("spec"));
            for kind in ["limits", "requests"] {
                let amounts = path.child("resources").child(kind);
                fractions(out, &container["resources"][kind], &amounts);
            }
            environment(out, container, &path);
        }
    }
    ports(out, spec, &spec_path);
    if spec.number("terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        let path = spec_path.child("terminationGracePeriodSeconds");
        out.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    selectors(out, spec, &spec_path);
}

fn seccomp(path: &Path) -> String {
    format!("{path}: non-functional in v1.27+; use the \"seccompProfile\" field instead")
}

/// What is said about an old label.
fn old_label(key: &str) -> Option<String> {
    let (_, since, new) = OLD_LABELS.iter().find(|(old, ..)| *old == key)?;
    Some(format!("deprecated since {since}; use {} instead", quote(new)))
}

fn labels(out: &mut Vec<String>, spec: &Value, path: &Path) {
    for (key, _) in spec.entries("nodeSelector") {
        if let Some(why) = old_label(key) {
            out.push(format!("{}: {why}", path.child("nodeSelector").key(key)));
        }
    }
    let affinity = &spec["affinity"]["nodeAffinity"];
    let affinity_path = path.child("affinity").child("nodeAffinity");
    let required = affinity_path.child(REQUIRED);
    for (path, term) in items(&affinity[REQUIRED], "nodeSelectorTerms", &required) {
        term_labels(out, term, &path);
    }
    for (path, term) in items(affinity, PREFERRED, &affinity_path) {
        term_labels(out, &term["preference"], &path.child("preference"));
    }
    for (path, constraint) in items(spec, "topologySpreadConstraints", path) {
        let key = constraint.text("topologyKey");
        if let Some(why) = old_label(key) {
            out.push(format!("{}: {key} is {why}", path.child("topologyKey")));
        }
        if constraint.part("labelSelector").is_none() {
            out.push(format!("{}: {NO_SELECTOR}", path.child("labelSelector")));
        }
    }
}

fn term_labels(out: &mut Vec<String>, term: &Value, path: &Path) {
    for (path, expression) in items(term, "matchExpressions", path) {
        let key = expression.text("key");
        if let Some(why) = old_label(key) {
            out.push(format!("{}: {key} is {why}", path.child("key")));
        }
    }
}

/// Items that are there twice and cannot be told apart by a patch.
fn doubles(out: &mut Vec<String>, spec: &Value, path: &Path) {
    for (list, field, what) in [("hostAliases", "ip", "ip"), ("imagePullSecrets", "name", "name")] {
        let mut seen = HashSet::new();
        for (path, item) in items(spec, list, path) {
            if !seen.insert(item.text(field)) {
                out.push(format!("{}: duplicate {what} {}", path.child(field), quote(item.text(field))));
            }
        }
    }
    for (path, secret) in items(spec, "imagePullSecrets", path) {
        if secret.text("name").is_empty() {
            out.push(format!("{}: invalid empty name \"\"", path.child("name")));
        }
    }
}

/// Bytes come in whole numbers.
fn fractions(out: &mut Vec<String>, amounts: &Value, path: &Path) {
    for name in ["memory", "ephemeral-storage"] {
        if let Some(amount) = amounts.quantity(name).filter(|amount| amount.millis() % 1000 != 0) {
            let shown = quote(&amount.to_string());
            out.push(format!(
                "{}: fractional byte value {shown} is invalid, must be an integer",
                path.key(name)
            ));
        }
    }
}

fn profile_annotations(
    out: &mut Vec<String>,
    pod: &Value,
    container: &Value,
    path: &Path,
    in_template: bool,
) {
    let (annotations, name) = (&pod["metadata"]["annotations"], container.text("name"));
    let key = format!("{SECCOMP_CONTAINER}{name}");
    let context = &container["securityContext"];
    if context.part("seccompProfile").is_none() && annotations.get(&key).is_some() {
        out.push(seccomp(&path.key(&key)));
    }
    let key = format!("{APPARMOR}{name}");
    let whole = pod["spec"]["securityContext"].part("appArmorProfile").is_some();
    let has_field = whole || context.part("appArmorProfile").is_some();
    if in_template && !has_field && annotations.get(&key).is_some() {
        let path = path.key(&key);
        out.push(format!("{path}: deprecated since v1.30; use the \"appArmorProfile\" field instead"));
    }
}

/// A variable that is defined again hides the first, unless it is built from it.
fn environment(out: &mut Vec<String>, container: &Value, path: &Path) {
    let mut seen = HashSet::new();
    for (path, variable) in items(container, "env", path) {
        let (name, value) = (variable.text("name"), variable.text("value"));
        if seen.insert(name) {
            continue;
        }
        let reference = format!("$({name})");
        let builds_on = value != reference && value.contains(&reference);
        if variable.part("valueFrom").is_some() || !builds_on {
            out.push(format!(
                "{path}: hides previous definition of {}, which may be dropped when using apply",
                quote(name)
            ));
        }
    }
}

fn ports(out: &mut Vec<String>, spec: &Value, path: &Path) {
    let mut all: HashMap<(i64, &str), Vec<(Path, &Value)>> = HashMap::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (path, container) in items(spec, list, path) {
            for (path, port) in items(container, "ports", &path) {
                let number = |port: &Value, name: &str| port.number(name).unwrap_or_default();
                let (ip, host) = (port.text("hostIP"), number(port, "hostPort"));
                let (own, protocol) = (number(port, "containerPort"), port.text("protocol"));
                if !ip.is_empty() && host == 0 {
                    let name = port.text("name");
                    out.push(format!("{path}: hostIP set without hostPort: {{Name:{name} HostPort:0 ContainerPort:{own} Protocol:{protocol} HostIP:{ip}}}"));
                }
                let others = all.entry((own, protocol)).or_default();
                for (other_path, other) in others.iter() {
                    let (other_ip, other_host) = (other.text("hostIP"), number(other, "hostPort"));
                    let how = if (ip, host) == (other_ip, other_host) {
                        "duplicate"
                    } else if host == 0 || other_host == 0 {
                        "overlapping"
                    } else if host == other_host && ip.is_empty() != other_ip.is_empty() {
                        "dangerously ambiguous"
                    } else {
                        continue;
                    };
                    out.push(format!("{path}: {how} port definition with {other_path}"));
                }
                others.push((path, port));
            }
        }
    }
}

/// Pod affinity without a selector selects nothing.
fn selectors(out: &mut Vec<String>, spec: &Value, path: &Path) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (affinity, path) = (&spec["affinity"][kind], path.child("affinity").child(kind));
        for (path, term) in items(affinity, REQUIRED, &path) {
            if term.part("labelSelector").is_none() {
                out.push(format!("{}: {NO_SELECTOR}", path.child("labelSelector")));
            }
        }
        for (path, term) in items(affinity, PREFERRED, &path) {
            if term["podAffinityTerm"].part("labelSelector").is_none() {
                let path = path.child("podAffinityTerm").child("labelSelector");
                out.push(format!("{path}: {NO_SELECTOR}"));
            }
        }
    }
}

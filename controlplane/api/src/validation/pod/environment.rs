//! Environment variables, and the references to fields, resources and keys that they share with downward volumes.

use std::collections::HashMap;

use serde_json::Value;

use super::super::fields::{Fields, items};
use super::super::report::Report;
use super::{containers, volume};
use crate::field::Path;
use crate::names;

const NOT_A_VARIABLE: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";
const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const HUGE_PAGES: [&str; 2] = ["requests.hugepages-", "limits.hugepages-"];
const SIZES: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

/// `env` of a container.
pub(super) fn variables(report: &mut Report, container: &Value, path: &Path) {
    for (path, variable) in items(container, "env", path) {
        match variable.text("name") {
            "" => report.required(&path.child("name"), ""),
            name => variable_name(report, &path.child("name"), name),
        }
        if let Some(from) = variable.part("valueFrom") {
            value_from(report, variable, from, &path.child("valueFrom"));
        }
    }
}

/// `envFrom` of a container.
pub(super) fn sources(report: &mut Report, container: &Value, path: &Path) {
    let list = path.child("envFrom");
    for (path, source) in items(container, "envFrom", path) {
        let prefix = source.text("prefix");
        if !prefix.is_empty() {
            variable_name(report, &path.child("prefix"), prefix);
        }
        let mut found = 0;
        for kind in ["configMapRef", "secretRef"] {
            let Some(reference) = source.part(kind) else { continue };
            found += 1;
            let path = path.child(kind).child("name");
            match reference.text("name") {
                "" => report.required(&path, ""),
                name => {
                    let complaints = names::dns_subdomain(&names::mask_trailing_dash(name));
                    report.complaints(&path, name, complaints);
                }
            }
        }
        match found {
            0 => report.invalid(&list, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => report.invalid(&list, "", "may not have more than one field specified at a time"),
        }
    }
}

fn variable_name(report: &mut Report, path: &Path, name: &str) {
    if !name.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'=') {
        report.invalid(path, name, NOT_A_VARIABLE);
    }
}

fn value_from(report: &mut Report, variable: &Value, from: &Value, path: &Path) {
    for kind in SOURCES {
        let Some(source) = from.part(kind) else { continue };
        let path = path.child(kind);
        match kind {
            "fieldRef" => field_reference(report, source, FIELDS, &path),
            "resourceFieldRef" => resource_reference(report, source, false, &path),
            "fileKeyRef" => file_key(report, source, &path),
            _ => key_reference(report, source, &path),
        }
    }
    let found = SOURCES.iter().filter(|kind| from.part(kind).is_some()).count();
    if found == 0 {
        let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        report.invalid(path, "", why);
    } else if !variable.text("value").is_empty() {
        report.invalid(path, "", "may not be specified when `value` is not empty");
    } else if found > 1 {
        report.invalid(path, "", "may not have more than one field specified at a time");
    }
}

/// A key of a ConfigMap or Secret.
fn key_reference(report: &mut Report, source: &Value, path: &Path) {
    report.dns_subdomain(&path.child("name"), source.text("name"));
    match source.text("key") {
        "" => report.required(&path.child("key"), ""),
        key => report.complaints(&path.child("key"), key, names::config_key(key)),
    }
}

fn file_key(report: &mut Report, source: &Value, path: &Path) {
    match source.text("key") {
        "" => report.required(&path.child("key"), ""),
        key => variable_name(report, &path.child("key"), key),
    }
    match source.text("volumeName") {
        "" => report.required(&path.child("volumeName"), ""),
        name => report.dns_label(&path.child("volumeName"), name),
    }
    match source.text("path") {
        "" => report.required(&path.child("path"), ""),
        file => volume::no_backsteps(report, &path.child("path"), file),
    }
}

/// Files with variables are in volumes of the pod's own.
pub(super) fn file_volumes(report: &mut Report, spec: &Value, path: &Path) {
    let volumes: HashMap<&str, &Value> =
        spec.list("volumes").iter().map(|volume| (volume.text("name"), volume)).collect();
    for (path, container) in containers(spec, path) {
        for (path, variable) in items(container, "env", &path) {
            let Some(file) = variable["valueFrom"].part("fileKeyRef") else { continue };
            let path = path.child("valueFrom").child("fileKeyRef").child("volumeName");
            let name = file.text("volumeName");
            match volumes.get(name) {
                None => report.not_found(&path, name),
                Some(volume) if volume.part("emptyDir").is_none() => {
                    report.invalid(&path, name, "referenced volume must be of type emptyDir");
                }
                Some(_) => {}
            }
        }
    }
}

/// A field of the pod; `known` are the ones that may be used without a subscript.
pub(super) fn field_reference(report: &mut Report, source: &Value, known: &[&str], path: &Path) {
    for name in ["apiVersion", "fieldPath"] {
        if source.text(name).is_empty() {
            report.required(&path.child(name), "");
            return;
        }
    }
    let (version, label) = (source.text("apiVersion"), source.text("fieldPath"));
    if version != "v1" {
        let why = format!("error converting fieldPath: unsupported pod version: {version}");
        report.invalid(&path.child("fieldPath"), label, why);
        return;
    }
    if let Some((map, key)) = subscript(label) {
        match map {
            "metadata.annotations" => report.qualified_name(path, &key.to_lowercase()),
            "metadata.labels" => report.qualified_name(path, key),
            _ => {
                let why =
                    format!("error converting fieldPath: field label does not support subscript: {label}");
                report.invalid(&path.child("fieldPath"), label, why);
            }
        }
        return;
    }
    // `spec.host` is the old name of the node's field.
    let label = if label == "spec.host" { "spec.nodeName" } else { label };
    let convertible = FIELDS.contains(&label)
        || matches!(label, "metadata.labels" | "metadata.annotations")
        || matches!(label, "spec.restartPolicy" | "spec.schedulerName" | "status.phase");
    if !convertible {
        let why = format!("error converting fieldPath: field label not supported: {label}");
        report.invalid(&path.child("fieldPath"), label, why);
    } else if !known.contains(&label) {
        report.not_supported(&path.child("fieldPath"), label, known);
    }
}

/// `metadata.labels['key']` in two.
fn subscript(label: &str) -> Option<(&str, &str)> {
    let (map, key) = label.strip_suffix("']")?.split_once("['")?;
    (!map.is_empty()).then_some((map, key))
}

/// A resource of a container; in a volume the container must be named.
pub(super) fn resource_reference(report: &mut Report, source: &Value, in_volume: bool, path: &Path) {
    let resource = source.text("resource");
    let huge = HUGE_PAGES.iter().any(|prefix| resource.starts_with(prefix));
    if in_volume && source.text("containerName").is_empty() {
        report.required(&path.child("containerName"), "");
    } else if resource.is_empty() {
        report.required(&path.child("resource"), "");
    } else if !RESOURCES.contains(&resource) && !huge {
        report.not_supported(&path.child("resource"), resource, RESOURCES);
    }
    let divisor = source.quantity("divisor").unwrap_or_default();
    if divisor.is_zero() {
        return;
    }
    let divisor = divisor.to_string();
    let what = match resource {
        "limits.cpu" | "requests.cpu" => {
            if !matches!(divisor.as_str(), "1m" | "1") {
                let why = "only divisor's values 1m and 1 are supported with the cpu resource";
                report.invalid(&path.child("divisor"), resource, why);
            }
            return;
        }
        "limits.memory" | "requests.memory" => "memory",
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => "local ephemeral storage",
        _ if huge => "hugepages",
        _ => return,
    };
    if !SIZES.contains(&divisor.as_str()) {
        let why =
            format!("only divisor's values {} are supported with the {what} resource", SIZES.join(", "));
        report.invalid(&path.child("divisor"), resource, why);
    }
}

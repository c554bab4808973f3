//! APIServices.

use serde_json::Value;

use super::fields::{Fields, items};
use super::report::Report;
use crate::field::{Path, quote};
use crate::names;

/// Priorities are positive and below these.
const GROUP_PRIORITY_MAX: i64 = 20_000;
const VERSION_PRIORITY_MAX: i64 = 1000;

pub(super) fn check(report: &mut Report, object: &Value) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let (group, version) = (spec.text("group"), spec.text("version"));
    let wanted = format!("{version}.{group}");
    let name = object["metadata"].text("name");
    if name != wanted {
        let why = format!("must be `spec.version+\".\"+spec.group`: {}", quote(&wanted));
        report.invalid(&Path::new("metadata").child("name"), name, why);
    }
    if group.is_empty() {
        if version != "v1" {
            report.required(
                &path.child("group"),
                "only v1 may have an empty group and it better be legacy kube",
            );
        }
    } else {
        report.dns_subdomain(&path.child("group"), group);
    }
    report.complaints(&path.child("version"), version, names::dns_1035_label(version));
    for (name, most) in
        [("groupPriorityMinimum", GROUP_PRIORITY_MAX), ("versionPriority", VERSION_PRIORITY_MAX)]
    {
        let value = spec[name].as_i64().unwrap_or(0);
        if value <= 0 || value > most {
            report.invalid(&path.child(name), value, format!("must be positive and less than {most}"));
        }
    }
    trust(report, spec, &path);
}

fn trust(report: &mut Report, spec: &Value, path: &Path) {
    let (bundle, insecure) = (spec.text("caBundle"), spec["insecureSkipTLSVerify"] == true);
    let at = path.child("insecureSkipTLSVerify");
    let service = &spec["service"];
    if service.is_null() {
        if !bundle.is_empty() {
            let length = format!("{} bytes", bundle.len() / 4 * 3);
            report.invalid(&path.child("caBundle"), length, "local APIServices may not have a caBundle");
        }
        if insecure {
            report.invalid(&at, true, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    let path = path.child("service");
    for name in ["namespace", "name"] {
        if service.text(name).is_empty() {
            report.required(&path.child(name), "");
        }
    }
    if !(1..=65535).contains(&service["port"].as_i64().unwrap_or(443)) {
        let port = service["port"].clone();
        report.invalid(
            &path.child("port"),
            port,
            "port is not valid: must be between 1 and 65535, inclusive",
        );
    }
    if insecure && !bundle.is_empty() {
        report.invalid(&at, true, "may not be true if caBundle is present");
    }
}

/// What is known of whether it can be reached.
pub(super) fn status(report: &mut Report, object: &Value) {
    for (path, condition) in items(&object["status"], "conditions", &Path::new("status")) {
        let state = condition.text("status");
        if !matches!(state, "True" | "False" | "Unknown") {
            report.not_supported(&path.child("status"), state, &["True", "False", "Unknown"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_priorities_and_trust() {
        let good = json!({"metadata": {"name": "v1.example.com"}, "spec": {"group": "example.com", "version": "v1",
            "groupPriorityMinimum": 100, "versionPriority": 10, "service": {"name": "s", "namespace": "n", "port": 443}, "caBundle": "AAAA"}});
        for (path, value, said) in [
            ("/spec/versionPriority", json!(10), ""),
            (
                "/metadata/name",
                json!("v1.other"),
                "metadata.name: Invalid value: \"v1.other\": must be `spec.version+\".\"+spec.group`: \"v1.example.com\"",
            ),
            (
                "/spec/groupPriorityMinimum",
                json!(0),
                "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
            ),
            (
                "/spec/versionPriority",
                json!(1001),
                "spec.versionPriority: Invalid value: 1001: must be positive and less than 1000",
            ),
            ("/spec/service/name", json!(""), "spec.service.name: Required value"),
            (
                "/spec/insecureSkipTLSVerify",
                json!(true),
                "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
            ),
            (
                "/spec/service",
                json!(null),
                "spec.caBundle: Invalid value: \"3 bytes\": local APIServices may not have a caBundle",
            ),
        ] {
            let mut object = good.clone();
            object["spec"]["insecureSkipTLSVerify"] = false.into();
            *object.pointer_mut(path).unwrap() = value;
            let mut report = Report::default();
            check(&mut report, &object);
            let found: Vec<String> = report.finish().iter().map(ToString::to_string).collect();
            assert_eq!(found.join("; "), said);
        }
    }
}

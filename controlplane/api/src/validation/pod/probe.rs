//! Probes and lifecycle hooks: one handler each.

use serde_json::Value;

use super::super::fields::Fields;
use super::super::report::Report;
use super::Whole;
use crate::field::Path;

const NOT_A_HEADER: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
const HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
const HOOKS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "sleep"];

/// The three probes of a container.
pub(super) fn all(report: &mut Report, container: &Value, path: &Path) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.part(name) else { continue };
        let path = path.child(name);
        self::probe(report, probe, &path);
        if name == "readinessProbe" {
            if let Some(seconds) = probe.number("terminationGracePeriodSeconds") {
                let path = path.child("terminationGracePeriodSeconds");
                report.invalid(&path, seconds, "must not be set for readinessProbes");
            }
        } else if probe.number("successThreshold") != Some(1) {
            let threshold = probe.number("successThreshold").unwrap_or_default();
            report.invalid(&path.child("successThreshold"), threshold, "must be 1");
        }
    }
}

/// `lifecycle` of a container, where there is one.
pub(super) fn lifecycle(report: &mut Report, whole: &Whole<'_>, container: &Value, path: &Path) {
    let Some(lifecycle) = container.part("lifecycle") else { return };
    let path = path.child("lifecycle");
    for name in ["postStart", "preStop"] {
        if let Some(hook) = lifecycle.part(name) {
            handler(report, hook, &HOOKS, whole.grace_seconds(), &path.child(name));
        }
    }
}

fn probe(report: &mut Report, probe: &Value, path: &Path) {
    handler(report, probe, &HANDLERS, None, path);
    for name in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        report.non_negative(&path.child(name), probe.number(name));
    }
    if let Some(seconds) = probe.number("terminationGracePeriodSeconds").filter(|seconds| *seconds <= 0) {
        report.invalid(&path.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0");
    }
}

fn handler(report: &mut Report, handler: &Value, known: &[&str], grace: Option<i64>, path: &Path) {
    let mut found = false;
    for kind in known {
        let Some(action) = handler.part(kind) else { continue };
        let path = path.child(kind);
        if found {
            report.forbidden(&path, "may not specify more than 1 handler type");
            continue;
        }
        found = true;
        match *kind {
            "exec" => {
                if action.list("command").is_empty() {
                    report.required(&path.child("command"), "");
                }
            }
            "httpGet" => http_get(report, action, &path),
            "sleep" => {
                let seconds = action.number("seconds").unwrap_or_default();
                if let Some(grace) = grace.filter(|grace| !(0..=*grace).contains(&seconds)) {
                    let why =
                        format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                    report.invalid(&path, seconds, why);
                }
            }
            _ => report.port(&path.child("port"), &action["port"]),
        }
    }
    if !found {
        report.required(path, "must specify a handler type");
    }
}

fn http_get(report: &mut Report, action: &Value, path: &Path) {
    if action.text("path").is_empty() {
        report.required(&path.child("path"), "");
    }
    report.port(&path.child("port"), &action["port"]);
    let scheme = action.text("scheme");
    if !matches!(scheme, "HTTP" | "HTTPS") {
        report.not_supported(&path.child("scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    for header in action.list("httpHeaders") {
        let name = header.text("name");
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            report.invalid(&path.child("httpHeaders"), name, NOT_A_HEADER);
        }
    }
}

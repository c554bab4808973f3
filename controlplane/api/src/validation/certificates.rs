//! CertificateSigningRequests.
//!
//! Not who may ask for what: that is admission's, and the signer's.

use std::collections::HashSet;

use base64::Engine as _;
use serde_json::Value;

use super::fields::{Fields, items};
use super::report::Report;
use crate::field::{Path, quote};
use crate::{names, x509};

const SHORTEST_SECONDS: i64 = 600;
const SUBDOMAIN_MAX: usize = 253;
/// A domain, a slash, a namespace, a dot and a name.
const SIGNER_NAME_MAX: usize = 571;
/// What a certificate may be asked for: every KeyUsage of the API, sorted.
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
/// Conditions that are there for good, and only ever true.
const FINAL: &[&str] = &["Approved", "Denied", "Failed"];

pub(super) fn request(report: &mut Report, request: &Value) {
    let (spec, path) = (&request["spec"], Path::new("spec"));
    let pem = base64::engine::general_purpose::STANDARD.decode(spec.text("request")).unwrap_or_default();
    if let Err(why) = x509::check_request(&pem) {
        report.invalid(&path.child("request"), spec.text("request"), why);
    }
    let usages = path.child("usages");
    if spec.list("usages").is_empty() {
        report.required(&usages, "");
    }
    let mut seen = HashSet::new();
    for (index, usage) in spec.texts("usages").enumerate() {
        if !USAGES.contains(&usage) {
            report.not_supported(&usages.index(index), usage, USAGES);
        } else if !seen.insert(usage) {
            report.duplicate(&usages.index(index), usage);
        }
    }
    match spec.text("signerName") {
        name @ "kubernetes.io/legacy-unknown" => {
            let why = "the legacy signerName is not allowed via this API version";
            report.invalid(&path.child("signerName"), name, why);
        }
        name => signer_name(report, name, &path.child("signerName")),
    }
    if let Some(seconds) = spec.number("expirationSeconds").filter(|seconds| *seconds < SHORTEST_SECONDS) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        report.invalid(&path.child("expirationSeconds"), seconds, why);
    }
    conditions(report, request);
}

/// `example.com/signer-name`.
fn signer_name(report: &mut Report, name: &str, path: &Path) {
    if name.is_empty() {
        return report.required(path, "");
    }
    let mut segments = name.split('/');
    let (Some(domain), Some(rest), None) = (segments.next(), segments.next(), segments.next()) else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return report.invalid(path, name, why);
    };
    if domain.len() > SUBDOMAIN_MAX {
        report.too_long(path, SUBDOMAIN_MAX);
    }
    labels(report, domain, names::dns_label, path);
    if !domain.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        report.invalid(path, domain, why);
    }
    labels(report, rest, names::dns_subdomain, path);
    if name.len() > SIGNER_NAME_MAX {
        report.too_long(path, SIGNER_NAME_MAX);
    }
}

/// Complaints about the first part between dots that is none.
fn labels(report: &mut Report, whole: &str, rule: fn(&str) -> names::Complaints, path: &Path) {
    let mut parts = whole.split('.').map(|part| (part, rule(part)));
    let Some((part, complaints)) = parts.find(|(_, complaints)| !complaints.is_empty()) else { return };
    for why in complaints {
        report.invalid(path, whole, format!("validating label {}: {why}", quote(part)));
    }
}

fn conditions(report: &mut Report, request: &Value) {
    let mut seen = HashSet::new();
    for (path, condition) in items(&request["status"], "conditions", &Path::new("status")) {
        let (of, status) = (condition.text("type"), condition.text("status"));
        if of.is_empty() {
            report.required(&path.child("type"), "");
        }
        if FINAL.contains(&of) {
            report.one_of(&path.child("status"), status, &["True"]);
        } else {
            report.one_of(&path.child("status"), status, &["False", "True", "Unknown"]);
        }
        if !seen.insert(of) {
            report.duplicate(&path.child("type"), of);
        }
        let excluded = match of {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => continue,
        };
        if seen.contains(excluded) {
            report.invalid(&path.child("type"), of, "Approved and Denied conditions are mutually exclusive");
        }
    }
}

/// What was issued.
fn certificate(report: &mut Report, encoded: &str) {
    if encoded.is_empty() {
        return;
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap_or_default();
    if let Err(why) = x509::check_issued(&bytes) {
        report.invalid(&Path::new("status").child("certificate"), "<certificate data>", why);
    }
}

/// A write to `approval` or `status`: what was decided stays decided, and what was issued stays issued.
pub(super) fn decision(report: &mut Report, new: &Value, old: &Value) {
    conditions(report, new);
    certificate(report, new["status"].text("certificate"));
    let has = |request: &Value, wanted: &str| {
        request["status"].list("conditions").iter().any(|condition| condition.text("type") == wanted)
    };
    let path = Path::new("status");
    for of in FINAL {
        if has(old, of) && !has(new, of) {
            let why = format!("updates may not remove a condition of type {}", quote(of));
            report.forbidden(&path.child("conditions"), why);
        }
    }
    let (before, after) = (old["status"].text("certificate"), new["status"].text("certificate"));
    if !before.is_empty() && before != after {
        report.forbidden(&path.child("certificate"), "updates may not modify existing certificate content");
    }
}

//! Projected volumes: several sources in one directory, so no two may write the same path.

use std::collections::HashSet;

use serde_json::Value;

use super::super::fields::{Fields, items};
use super::super::labels;
use super::super::report::Report;
use super::volume;
use crate::field::Path;

const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;
const CONFLICT: &str = "conflicting duplicate paths";
const SOURCES: [&str; 6] =
    ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"];

pub(super) fn check(report: &mut Report, projected: &Value, path: &Path) {
    volume::mode(report, projected, "defaultMode", path);
    let mut taken = HashSet::new();
    for (source_path, source) in items(projected, "sources", path) {
        for kind in ["secret", "configMap"] {
            if let Some(keys) = source.part(kind) {
                key_source(report, keys, &mut taken, &source_path.child(kind), path);
            }
        }
        if let Some(downward) = source.part("downwardAPI") {
            for file in downward.list("items") {
                volume::downward_file(report, file, &source_path.child("downwardAPI"));
                take(report, &mut taken, file.text("path"), file.text("path"), path);
            }
        }
        if let Some(token) = source.part("serviceAccountToken") {
            self::token(report, token, &source_path.child("serviceAccountToken"), path);
        }
        if let Some(bundle) = source.part("clusterTrustBundle") {
            trust_bundle(report, bundle, &source_path.child("clusterTrustBundle"));
            take(report, &mut taken, bundle.text("path"), bundle.text("path"), path);
        }
        if SOURCES.iter().filter(|kind| source.part(kind).is_some()).count() > 1 {
            report.forbidden(&source_path, "may not specify more than 1 volume type per source");
        }
    }
}

fn key_source<'a>(
    report: &mut Report,
    source: &'a Value,
    taken: &mut HashSet<&'a str>,
    path: &Path,
    volume_path: &Path,
) {
    if source.text("name").is_empty() {
        report.required(&path.child("name"), "");
    }
    for (path, item) in items(source, "items", path) {
        volume::key_to_path(report, item, &path);
        take(report, taken, item.text("path"), source.text("name"), volume_path);
    }
}

/// Complains, with `shown`, when a path is taken already.
fn take<'a>(report: &mut Report, taken: &mut HashSet<&'a str>, file: &'a str, shown: &str, path: &Path) {
    if !file.is_empty() && !taken.insert(file) {
        report.invalid(path, shown, CONFLICT);
    }
}

fn token(report: &mut Report, token: &Value, path: &Path, volume_path: &Path) {
    let seconds = token.number("expirationSeconds").unwrap_or_default();
    let seconds_path = path.child("expirationSeconds");
    if seconds < TOKEN_SECONDS_MIN {
        report.invalid(&seconds_path, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > TOKEN_SECONDS_MAX {
        report.invalid(&seconds_path, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    match token.text("path") {
        "" => report.required(&volume_path.child("path"), ""),
        file => volume::local_path(report, &volume_path.child("path"), file),
    }
}

fn trust_bundle(report: &mut Report, bundle: &Value, path: &Path) {
    match (bundle.part("name"), bundle.part("signerName")) {
        (Some(_), Some(_)) => {
            report.invalid(path, bundle.clone(), "only one of name and signerName may be used");
        }
        (Some(name), None) => {
            if name == "" {
                report.required(&path.child("name"), "must be a valid object name");
            }
            if let Some(selector) = bundle.part("labelSelector") {
                let why = "labelSelector must be unset if name is specified";
                report.invalid(&path.child("labelSelector"), selector.clone(), why);
            }
        }
        (None, Some(signer)) => {
            if signer == "" {
                report.required(&path.child("signerName"), "must be a valid signer name");
            }
            labels::selector(report, &bundle["labelSelector"], &path.child("labelSelector"));
        }
        (None, None) => report.required(path, "either name or signerName must be specified"),
    }
    if bundle.text("path").is_empty() {
        report.required(&path.child("path"), "");
    }
    volume::local_path(report, &path.child("path"), bundle.text("path"));
}

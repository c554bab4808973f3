//! Objects that are asked, not stored: access reviews, token requests, bindings of pods.

use serde_json::Value;

use super::fields::{Fields, items};
use super::report::Report;
use crate::field::Path;
use crate::names;

const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;
/// Metadata that the server itself puts into what it was asked.
const SERVERS_OWN: &[&str] = &["uid", "creationTimestamp", "managedFields"];

/// A SubjectAccessReview of any kind.
pub(super) fn access_review(report: &mut Report, kind: &str, review: &Value) {
    let (spec, path) = (&review["spec"], Path::new("spec"));
    let (resource, other) = (spec.part("resourceAttributes"), spec.part("nonResourceAttributes"));
    if let (Some(_), Some(other)) = (resource, other) {
        let why = "cannot be specified in combination with resourceAttributes";
        report.invalid(&path.child("nonResourceAttributes"), other.clone(), why);
    }
    if resource.is_none() && other.is_none() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        report.invalid(&path.child("resourceAttributes"), Value::Null, why);
    }
    if kind != "SelfSubjectAccessReview" && spec.text("user").is_empty() && spec.list("groups").is_empty() {
        report.invalid(&path.child("user"), "", "at least one of user or group must be specified");
    }
    if let Some(resource) = resource {
        let path = path.child("resourceAttributes");
        for name in ["fieldSelector", "labelSelector"] {
            if let Some(selector) = resource.part(name) {
                self::selector(report, selector, name == "labelSelector", &path.child(name));
            }
        }
    }
    let local = kind == "LocalSubjectAccessReview";
    if local {
        let (asked, own) =
            (spec["resourceAttributes"].text("namespace"), review["metadata"].text("namespace"));
        if resource.is_some() && asked != own {
            let path = path.child("resourceAttributes").child("namespace");
            report.invalid(&path, asked, "must match metadata.namespace");
        }
        if let Some(other) = other {
            let why = "disallowed on this kind of request";
            report.invalid(&path.child("nonResourceAttributes"), other.clone(), why);
        }
    }
    let mut fields = review.entries("metadata").filter(|(name, value)| {
        !(value.is_null() || SERVERS_OWN.contains(name) || (local && *name == "namespace"))
    });
    if fields.next().is_some() {
        let why = if local { "must be empty except for namespace" } else { "must be empty" };
        report.invalid(&Path::new("metadata"), review["metadata"].clone(), why);
    }
}

/// Which objects of a resource are asked about; an operator that is not known here may be known elsewhere.
fn selector(report: &mut Report, selector: &Value, labels: bool, path: &Path) {
    let (raw, none) = (selector.text("rawSelector"), selector.list("requirements").is_empty());
    if !raw.is_empty() && !none {
        let why = "may not specified at the same time as requirements";
        report.invalid(&path.child("rawSelector"), raw, why);
    }
    if raw.is_empty() && none {
        let why = format!("when {path} is specified, requirements or rawSelector is required");
        report.required(&path.child("requirements"), &why);
    }
    for (path, term) in items(selector, "requirements", path) {
        let (key, at) = (term.text("key"), path.child("key"));
        if !labels && key.is_empty() {
            report.required(&at, "must be specified");
        }
        let (values, none) = (path.child("values"), term.list("values").is_empty());
        match term.text("operator") {
            "In" | "NotIn" if none => {
                report.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !none => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                report.forbidden(&values, why);
            }
            _ => {}
        }
        if labels {
            report.qualified_name(&at, key);
            for (index, value) in term.texts("values").enumerate() {
                report.complaints(&values.index(index), value, names::label_value(value));
            }
        }
    }
}

/// How long a token may live.
pub(super) fn token_request(report: &mut Report, request: &Value) {
    token_seconds(report, &request["spec"], &Path::new("spec"));
}

/// `expirationSeconds` of what asks for a token.
pub(super) fn token_seconds(report: &mut Report, of: &Value, path: &Path) {
    let Some(seconds) = of.number("expirationSeconds") else { return };
    let path = path.child("expirationSeconds");
    if seconds < TOKEN_SECONDS_MIN {
        report.invalid(&path, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > TOKEN_SECONDS_MAX {
        report.invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds");
    }
}

/// The node that a pod is bound to.
pub(super) fn binding(report: &mut Report, binding: &Value) {
    let (target, path) = (&binding["target"], Path::new("target"));
    if !matches!(target.text("kind"), "" | "Node") {
        report.not_supported(&path.child("kind"), target.text("kind"), &["Node", "<empty>"]);
    }
    if target.text("name").is_empty() {
        report.required(&path.child("name"), "");
    }
}

//! `metadata`: what every object has, at creation and at every later write.
//!
//! Not name generation (`names`), nor which fields the server fills in.
//! Reference: `apimachinery/pkg/api/validation/objectmeta.go`, by behaviour.

use std::collections::HashSet;

use serde_json::Value;

use super::fields::{Fields, items};
use super::labels;
use super::report::Report;
use crate::field::{Path, quote};
use crate::names::{self, Complaints};

/// A field manager's name is at most this long.
const MANAGER_MAX: usize = 128;
/// How many controllers too many are complained about: each complaint shows the whole list.
const CONTROLLERS_SHOWN: usize = 4;
/// The name of a subresource in managed fields is at most this long.
const SUBRESOURCE_MAX: usize = 256;
/// Finalizers that need no domain.
const STANDARD_FINALIZERS: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];
/// What stays as it is once an object exists.
const FIXED: &[&str] =
    &["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"];

/// How the objects of a kind may be called; the second argument says "this is a prefix".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameRule {
    Subdomain,
    Label,
    PathSegment,
}

impl NameRule {
    pub(super) fn of(group: &str, kind: &str) -> NameRule {
        match (group, kind) {
            ("", "Namespace" | "Service") => NameRule::Label,
            ("apps", "StatefulSet") => NameRule::Label,
            ("rbac.authorization.k8s.io", _) | ("", "Event" | "Binding") => NameRule::PathSegment,
            // Nothing but that a URL can hold it.
            ("policy", "PodDisruptionBudget") | ("certificates.k8s.io", "CertificateSigningRequest") => {
                NameRule::PathSegment
            }
            // Says more of its own.
            ("networking.k8s.io", "IPAddress") | ("apiregistration.k8s.io", "APIService") => {
                NameRule::PathSegment
            }
            _ => NameRule::Subdomain,
        }
    }

    fn complaints(self, name: &str) -> Complaints {
        match self {
            NameRule::Subdomain => names::dns_subdomain(name),
            NameRule::Label => names::dns_label(name),
            NameRule::PathSegment => names::path_segment(name),
        }
    }
}

/// Metadata of an object that is to be created.
pub(super) fn create(report: &mut Report, metadata: &Value, namespaced: bool, rule: NameRule, path: &Path) {
    let base = metadata.text("generateName");
    if !base.is_empty() {
        let masked =
            if rule == NameRule::PathSegment { base.into() } else { names::mask_trailing_dash(base) };
        report.complaints(&path.child("generateName"), base, rule.complaints(&masked));
    }
    match metadata.text("name") {
        "" => report.required(&path.child("name"), "name or generateName is required"),
        name => report.complaints(&path.child("name"), name, rule.complaints(name)),
    }
    namespace(report, metadata, namespaced, &path.child("namespace"));
    shared(report, metadata, path);
}

/// Metadata of an object that replaces another.
pub(super) fn update(report: &mut Report, new: &Value, old: &Value, path: &Path) {
    if old.part("deletionTimestamp").is_some() {
        no_new_finalizers(report, new, old, &path.child("finalizers"));
    }
    if new.text("resourceVersion").is_empty() {
        report.invalid(&path.child("resourceVersion"), "", "must be specified for an update");
    }
    let generation = new.number("generation").unwrap_or_default();
    if generation < old.number("generation").unwrap_or_default() {
        report.invalid(&path.child("generation"), generation, "must not be decremented");
    }
    for name in FIXED {
        report.immutable(&path.child(name), &new[*name], &old[*name]);
    }
    shared(report, new, path);
}

/// A finalizer's name: qualified, and with a domain unless it is one of the old ones.
pub(super) fn finalizer(report: &mut Report, path: &Path, name: &str) {
    report.qualified_name(path, name);
    standard_finalizer(report, path, name);
}

fn standard_finalizer(report: &mut Report, path: &Path, name: &str) {
    if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
        report.invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

fn namespace(report: &mut Report, metadata: &Value, namespaced: bool, path: &Path) {
    match (namespaced, metadata.text("namespace")) {
        (true, "") => report.required(path, ""),
        (true, namespace) => report.dns_label(path, namespace),
        (false, "") => {}
        (false, _) => report.forbidden(path, "not allowed on this type"),
    }
}

fn shared(report: &mut Report, metadata: &Value, path: &Path) {
    report.non_negative(&path.child("generation"), metadata.number("generation"));
    labels::labels(report, &metadata["labels"], &path.child("labels"));
    labels::annotations(report, &metadata["annotations"], &path.child("annotations"));
    owners(report, metadata, &path.child("ownerReferences"));
    finalizers(report, metadata, &path.child("finalizers"));
    managed_fields(report, metadata, path);
}

fn owners(report: &mut Report, metadata: &Value, path: &Path) {
    let (mut controller, mut complaints): (Option<String>, usize) = (None, 0);
    for owner in metadata.list("ownerReferences") {
        let api_version = owner.text("apiVersion");
        // `group/version`; anything with more slashes has no version.
        let version = match api_version.matches('/').count() {
            0 => api_version,
            1 => api_version.rsplit('/').next().unwrap_or_default(),
            _ => "",
        };
        if version.is_empty() {
            report.invalid(&path.child("apiVersion"), api_version, "version must not be empty");
        }
        for name in ["kind", "name", "uid"] {
            if owner.text(name).is_empty() {
                report.invalid(&path.child(name), "", "must not be empty");
            }
        }
        if (api_version, owner.text("kind")) == ("v1", "Event") {
            report.invalid(path, owner.clone(), "/v1, Kind=Event is disallowed from being an owner");
        }
        if owner.flag("controller") && complaints < CONTROLLERS_SHOWN {
            let this = format!("{}/{}", owner.text("kind"), owner.text("name"));
            match &controller {
                None => controller = Some(this),
                Some(first) => {
                    let why = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    );
                    complaints += 1;
                    report.invalid(path, metadata["ownerReferences"].clone(), why);
                }
            }
        }
    }
}

fn finalizers(report: &mut Report, metadata: &Value, path: &Path) {
    for name in metadata.texts("finalizers") {
        report.qualified_name(path, name);
    }
    let has = |wanted: &str| metadata.texts("finalizers").any(|name| name == wanted);
    if has("orphan") && has("foregroundDeletion") {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        report.invalid(path, metadata["finalizers"].clone(), why);
    }
    for (index, name) in metadata.texts("finalizers").enumerate() {
        standard_finalizer(report, &path.index(index), name);
    }
}

fn no_new_finalizers(report: &mut Report, new: &Value, old: &Value, path: &Path) {
    let known: HashSet<&str> = old.texts("finalizers").collect();
    let mut extra: Vec<&str> = new.texts("finalizers").filter(|name| !known.contains(name)).collect();
    extra.sort_unstable();
    extra.dedup();
    if !extra.is_empty() {
        let listed: Vec<String> = extra.into_iter().map(quote).collect();
        let why = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            listed.join(", ")
        );
        report.forbidden(path, why);
    }
}

fn managed_fields(report: &mut Report, metadata: &Value, path: &Path) {
    for (path, entry) in items(metadata, "managedFields", path) {
        let operation = entry.text("operation");
        if !matches!(operation, "Apply" | "Update") {
            report.invalid(&path.child("operation"), operation, "must be `Apply` or `Update`");
        }
        let kind = entry.text("fieldsType");
        if !matches!(kind, "" | "FieldsV1") {
            report.invalid(&path.child("fieldsType"), kind, "must be `FieldsV1`");
        }
        if entry.text("manager").len() > MANAGER_MAX {
            report.too_long(&path.child("manager"), MANAGER_MAX);
        }
        if entry.text("subresource").len() > SUBRESOURCE_MAX {
            report.too_long(&path.child("subresource"), SUBRESOURCE_MAX);
        }
    }
}

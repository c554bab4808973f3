//! What is wrong with a definition: its names, its place among versions, what was stored.
//!
//! Not what its versions say (`version`), nor its webhook (`webhook`).

use serde_json::Value;

use super::names::is_established;
use super::storage_version;
use super::version::Versions;
use super::webhook;
use crate::field::{FieldError, Path, quote};
use crate::names::{dns_1035_label, dns_subdomain};

const APPROVAL: &str = "api-approved.kubernetes.io";
const APPROVAL_PATH: &str = "metadata.annotations[api-approved.kubernetes.io]";
const APPROVALS: &str = "https://github.com/kubernetes/enhancements/pull/1111";

/// At its creation, beyond what metadata must be.
pub fn create(definition: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &definition["spec"];
    let name = text(&definition["metadata"], "name");
    if name != format!("{}.{}", text(&spec["names"], "plural"), text(spec, "group")) {
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", name, why));
    }
    whole(spec, None, false, &mut errors);
    stored(definition, &mut errors);
    approval(definition, &mut errors);
    preserving(spec, &Value::Null, &mut errors);
    errors
}

/// At a change, beyond what metadata must be.
pub fn update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (spec, before) = (&new["spec"], &old["spec"]);
    let checks_authority = is_established(old)
        && webhook::bad_authority(&before["conversion"]["webhook"]["clientConfig"]).is_none();
    whole(spec, Some(before), checks_authority, &mut errors);
    let mut fixed = Vec::new();
    if is_established(old) {
        fixed.push(("scope", &spec["scope"], &before["scope"]));
        fixed.push(("names.kind", &spec["names"]["kind"], &before["names"]["kind"]));
    }
    fixed.push(("group", &spec["group"], &before["group"]));
    fixed.push(("names.plural", &spec["names"]["plural"], &before["names"]["plural"]));
    for (name, now, then) in fixed {
        if now != then {
            let path = Path::new("spec").child(name);
            errors.push(FieldError::invalid(path, now.clone(), "field is immutable"));
        }
    }
    errors.extend(status(new));
    stored(new, &mut errors);
    // What was let through once, and did not change, stays.
    if Approval::of(new) != Approval::of(old) {
        approval(new, &mut errors);
    }
    preserving(spec, before, &mut errors);
    errors
}

/// At a change of its status alone.
pub fn status(definition: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = Path::new("status").child("acceptedNames");
    names(&definition["status"]["acceptedNames"], &path, &mut errors);
    errors
}

pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

pub(super) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn whole(spec: &Value, old: Option<&Value>, checks_authority: bool, errors: &mut Vec<FieldError>) {
    let path = Path::new("spec");
    match text(spec, "group") {
        "" => errors.push(FieldError::required(path.child("group"), "")),
        group => {
            let complaints = dns_subdomain(group);
            if !complaints.is_empty() {
                errors.push(FieldError::invalid(path.child("group"), group, complaints.join(",")));
            } else if !group.contains('.') {
                let why = "should be a domain with at least one dot";
                errors.push(FieldError::invalid(path.child("group"), group, why));
            }
        }
    }
    match text(spec, "scope") {
        "" => errors.push(FieldError::required(path.child("scope"), "")),
        "Cluster" | "Namespaced" => {}
        other => {
            errors.push(FieldError::not_supported(path.child("scope"), other, &["Cluster", "Namespaced"]))
        }
    }
    let (versions, at) = (Versions::of(spec, old), path.child("versions"));
    versions.schemas(&at, errors);
    versions.each(&at, errors);
    together(spec, &path, errors);
    for name in ["plural", "singular", "kind", "listKind"] {
        if text(&spec["names"], name).is_empty() {
            errors.push(FieldError::required(path.child("names").child(name), ""));
        }
    }
    names(&spec["names"], &path.child("names"), errors);
    versions.together(&path, errors);
    if spec["preserveUnknownFields"] == true && text(&spec["conversion"], "strategy") != "None" {
        let why = "must be None if spec.preserveUnknownFields is true";
        let strategy = spec["conversion"]["strategy"].clone();
        errors.push(FieldError::invalid(path.child("conversion").child("strategy"), strategy, why));
    }
    webhook::conversion(&spec["conversion"], checks_authority, &path.child("conversion"), errors);
}

/// Names and storage, for all versions.
fn together(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (all, at) = (list(spec, "versions"), path.child("versions"));
    let mut known: Vec<&str> = all.iter().map(|version| text(version, "name")).collect();
    known.sort_unstable();
    if known.windows(2).any(|pair| pair[0] == pair[1]) {
        errors.push(FieldError::invalid(&at, spec["versions"].clone(), "must contain unique version names"));
    }
    if all.iter().filter(|version| version["storage"] == true).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid(&at, spec["versions"].clone(), why));
    }
    // Once a definition had one version alone: the first.
    let first = all.first().map(|version| text(version, "name")).unwrap_or_default();
    let complaints = dns_1035_label(first);
    if !first.is_empty() && !complaints.is_empty() {
        errors.push(FieldError::invalid(path.child("version"), first, complaints.join(",")));
    }
}

fn names(names: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let mut label = |at: Path, value: &str, mixed: bool| {
        let complaints = dns_1035_label(&if mixed { value.to_lowercase() } else { value.to_owned() });
        if !complaints.is_empty() {
            let head = if mixed { "may have mixed case, but should otherwise match: " } else { "" };
            errors.push(FieldError::invalid(at, value, format!("{head}{}", complaints.join(","))));
        }
    };
    for (name, mixed) in [("plural", false), ("singular", false), ("kind", true), ("listKind", true)] {
        if !text(names, name).is_empty() {
            label(path.child(name), text(names, name), mixed);
        }
    }
    let mut listed = |name: &str| {
        for (index, value) in list(names, name).iter().enumerate() {
            label(path.child(name).index(index), value.as_str().unwrap_or_default(), false);
        }
    };
    listed("shortNames");
    listed("categories");
    let kind = text(names, "kind");
    if !kind.is_empty() && kind == text(names, "listKind") {
        let why = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(path.child("listKind"), kind, why));
    }
}

/// Versions that objects may lie in stay.
fn stored(definition: &Value, errors: &mut Vec<FieldError>) {
    let (all, path) = (&definition["status"]["storedVersions"], Path::new("status").child("storedVersions"));
    let known = list(&definition["status"], "storedVersions");
    if known.is_empty() {
        return errors.push(FieldError::invalid(path, all.clone(), "must have at least one stored version"));
    }
    if let Some(storage) = storage_version(definition)
        && !known.iter().any(|version| version == storage)
    {
        let why = format!("must have the storage version {storage}");
        errors.push(FieldError::invalid(&path, all.clone(), why));
    }
    let named: std::collections::HashSet<&str> =
        list(&definition["spec"], "versions").iter().map(|version| text(version, "name")).collect();
    for (index, version) in known.iter().enumerate() {
        let name = version.as_str().unwrap_or_default();
        if !named.contains(name) {
            let why = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.push(FieldError::invalid(path.index(index), name, why));
        }
    }
}

/// What is said of whether the Kubernetes project approved a group of its own.
#[derive(PartialEq, Eq)]
enum Approval {
    Missing,
    Bypassed,
    Approved,
    Invalid,
}

impl Approval {
    fn of(definition: &Value) -> Approval {
        let said = definition["metadata"]["annotations"][APPROVAL].as_str().unwrap_or_default();
        let is_url = said.split_once("://").is_some_and(|(scheme, rest)| {
            let host = rest.split('/').next().unwrap_or_default();
            scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && !host.is_empty()
        });
        match said {
            "" => Approval::Missing,
            said if said.starts_with("unapproved") => Approval::Bypassed,
            _ if is_url => Approval::Approved,
            _ => Approval::Invalid,
        }
    }
}

/// Groups of the Kubernetes project need its approval.
fn approval(definition: &Value, errors: &mut Vec<FieldError>) {
    let group = text(&definition["spec"], "group");
    let protected = |domain: &str| group == domain || group.ends_with(&format!(".{domain}"));
    if !protected("k8s.io") && !protected("kubernetes.io") {
        return;
    }
    let needs = format!("protected groups must have approval annotation {}", quote(APPROVAL));
    match Approval::of(definition) {
        Approval::Missing => {
            errors.push(FieldError::required(APPROVAL_PATH, format!("{needs}, see {APPROVALS}")));
        }
        Approval::Invalid => {
            let said = definition["metadata"]["annotations"][APPROVAL].clone();
            let why = format!(
                "{needs} with either a URL or a reason starting with \"unapproved\", see {APPROVALS}"
            );
            errors.push(FieldError::invalid(APPROVAL_PATH, said, why));
        }
        Approval::Bypassed | Approval::Approved => {}
    }
}

/// Fields that no schema knows are kept by the schema's word alone.
fn preserving(spec: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if spec["preserveUnknownFields"] == true && old["preserveUnknownFields"] != true {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid("spec.preserveUnknownFields", true, why));
    }
}

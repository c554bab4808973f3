//! Volumes: one source each, and what each source must say; paths inside volumes.
//!
//! Projected volumes are in `projected`. Sources of storage systems that Kubernetes no longer drives itself are only
//! checked for the fields they cannot be without.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::super::fields::{Fields, items, parse_quantity};
use super::super::report::Report;
use super::super::{labels, storage};
use super::{container, environment, projected};
use crate::field::Path;
use crate::names;

const BAD_MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const MODE_MAX: i64 = 0o777;
const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const DOWNWARD_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// Every source in the order in which upstream looks for it.
const SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];
/// Fields that a source cannot be without, where that is nearly all there is to say.
const MUST_HAVE: &[(&str, &[&str])] = &[
    ("gitRepo", &["repository"]),
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("glusterfs", &["endpoints", "path"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("rbd", &["monitors", "image"]),
    ("cinder", &["volumeID"]),
    ("cephfs", &["monitors"]),
    ("quobyte", &["registry", "volume"]),
    ("flexVolume", &["driver"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
];

/// Checks all volumes; returns those that are fine, because only they can be mounted.
pub(super) fn all<'a>(
    report: &mut Report,
    spec: &'a Value,
    metadata: Option<&Value>,
    path: &Path,
) -> HashMap<&'a str, &'a Value> {
    let pod = metadata.map(|metadata| metadata.text("name")).unwrap_or_default();
    let mut fine = HashMap::new();
    let created = created_claims(spec, pod);
    for (path, volume) in items(spec, "volumes", path) {
        let before = report.len();
        source(report, volume, pod, metadata.is_some(), &path);
        let (name, name_path) = (volume.text("name"), path.child("name"));
        if name.is_empty() {
            report.required(&name_path, "");
        } else {
            report.dns_label(&name_path, name);
        }
        if fine.contains_key(name) {
            report.duplicate(&name_path, name);
        }
        if report.len() == before {
            fine.insert(name, volume);
        }
        let claim = volume["persistentVolumeClaim"].text("claimName");
        if created.contains(claim) {
            let path = path.child("persistentVolumeClaim").child("claimName");
            let why = "must not reference a PVC that gets created for an ephemeral volume";
            report.invalid(&path, claim, why);
        }
    }
    fine
}

/// Claims that exist only because of this pod: it is not to name them.
fn created_claims(spec: &Value, pod: &str) -> HashSet<String> {
    let ephemeral = spec.list("volumes").iter().filter(|volume| volume.part("ephemeral").is_some());
    ephemeral.filter(|_| !pod.is_empty()).map(|volume| format!("{pod}-{}", volume.text("name"))).collect()
}

fn source(report: &mut Report, volume: &Value, pod: &str, in_pod: bool, path: &Path) {
    let mut found = false;
    for kind in SOURCES {
        let Some(source) = volume.part(kind) else { continue };
        if found {
            // The two misspellings are upstream's.
            let shown = match *kind {
                "cephfs" => "cephFS",
                "downwardAPI" => "downwarAPI",
                kind => kind,
            };
            report.forbidden(&path.child(shown), "may not specify more than 1 volume type");
            continue;
        }
        found = true;
        one(report, kind, source, in_pod, &path.child(kind));
        if *kind == "ephemeral" && !pod.is_empty() && !volume.text("name").is_empty() {
            let (name, claim) = (volume.text("name"), format!("{pod}-{}", volume.text("name")));
            for why in names::dns_subdomain(&claim) {
                let why = format!("PVC name {}: {why}", crate::field::quote(&claim));
                report.invalid(&path.child("name"), name, why);
            }
        }
    }
    if !found {
        report.required(path, "must specify a volume type");
    }
}

fn one(report: &mut Report, kind: &str, source: &Value, in_pod: bool, path: &Path) {
    for (known, fields) in MUST_HAVE {
        for field in fields.iter().filter(|_| *known == kind) {
            if super::super::fields::is_empty(&source[*field]) {
                report.required(&path.child(field), "");
            }
        }
    }
    match kind {
        "emptyDir" => {
            let limit = source.part("sizeLimit").and_then(parse_quantity);
            if limit.is_some_and(|limit| limit.sign() < 0) {
                let why = "SizeLimit field must be a valid resource quantity";
                report.forbidden(&path.child("sizeLimit"), why);
            }
        }
        "hostPath" => host_path(report, source, path),
        "gitRepo" => descending_path(report, &path.child("directory"), source.text("directory")),
        "secret" | "configMap" => keys(report, kind, source, path),
        "nfs" => nfs(report, source, path),
        "downwardAPI" => {
            mode(report, source, "defaultMode", path);
            for file in source.list("items") {
                downward_file(report, file, path);
            }
        }
        "projected" => projected::check(report, source, path),
        "csi" => csi(report, source, path),
        "ephemeral" => ephemeral(report, source, path),
        "image" => {
            if in_pod && source.text("reference").is_empty() {
                report.required(&path.child("reference"), "");
            }
            // The default depends on the image's tag; absent means the same.
            if source.part("pullPolicy").is_some() {
                let policy = source.text("pullPolicy");
                report.one_of(&path.child("pullPolicy"), policy, container::PULL_POLICIES);
            }
        }
        _ => {}
    }
}

pub(in super::super) fn host_path(report: &mut Report, source: &Value, path: &Path) {
    if source.text("path").is_empty() {
        report.required(&path.child("path"), "");
        return;
    }
    no_backsteps(report, &path.child("path"), source.text("path"));
    if source.part("type").is_some() && !HOST_PATH_TYPES.contains(&source.text("type")) {
        report.not_supported(&path.child("type"), source.text("type"), HOST_PATH_TYPES);
    }
}

fn keys(report: &mut Report, kind: &str, source: &Value, path: &Path) {
    let name = if kind == "secret" { "secretName" } else { "name" };
    if source.text(name).is_empty() {
        report.required(&path.child(name), "");
    }
    mode(report, source, "defaultMode", path);
    for (path, item) in items(source, "items", path) {
        key_to_path(report, item, &path);
    }
}

pub(in super::super) fn nfs(report: &mut Report, source: &Value, path: &Path) {
    for name in ["server", "path"] {
        if source.text(name).is_empty() {
            report.required(&path.child(name), "");
        }
    }
    if !source.text("path").starts_with('/') {
        report.invalid(&path.child("path"), source.text("path"), "must be an absolute path");
    }
}

fn csi(report: &mut Report, source: &Value, path: &Path) {
    storage::driver_name(report, source.text("driver"), &path.child("driver"));
    if let Some(secret) = source.part("nodePublishSecretRef") {
        match secret.text("name") {
            "" => report.required(&path.child("nodePublishSecretRef").child("name"), ""),
            // The path is upstream's.
            name => report.dns_subdomain(&path.child("name"), name),
        }
    }
}

/// A claim that comes and goes with the pod.
fn ephemeral(report: &mut Report, source: &Value, path: &Path) {
    let path = path.child("volumeClaimTemplate");
    let Some(template) = source.part("volumeClaimTemplate") else {
        report.required(&path, "");
        return;
    };
    let metadata = path.child("metadata");
    labels::annotations(report, &template["metadata"]["annotations"], &metadata.child("annotations"));
    labels::labels(report, &template["metadata"]["labels"], &metadata.child("labels"));
    storage::claim_spec(report, &template["spec"], &path.child("spec"));
}

pub(super) fn key_to_path(report: &mut Report, item: &Value, path: &Path) {
    for name in ["key", "path"] {
        if item.text(name).is_empty() {
            report.required(&path.child(name), "");
        }
    }
    local_path(report, &path.child("path"), item.text("path"));
    mode(report, item, "mode", path);
}

/// A file of a downward volume.
pub(super) fn downward_file(report: &mut Report, file: &Value, path: &Path) {
    if file.text("path").is_empty() {
        report.required(&path.child("path"), "");
    }
    local_path(report, &path.child("path"), file.text("path"));
    match (file.part("fieldRef"), file.part("resourceFieldRef")) {
        (Some(field), resource) => {
            environment::field_reference(report, field, DOWNWARD_FIELDS, &path.child("fieldRef"));
            if resource.is_some() {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                report.invalid(path, "resource", why);
            }
        }
        (None, Some(resource)) => {
            environment::resource_reference(report, resource, true, &path.child("resourceFieldRef"));
        }
        (None, None) => report.required(path, "one of fieldRef and resourceFieldRef is required"),
    }
    mode(report, file, "mode", path);
}

/// A file mode, where one is given.
pub(super) fn mode(report: &mut Report, source: &Value, name: &str, path: &Path) {
    if let Some(mode) = source.number(name).filter(|mode| !(0..=MODE_MAX).contains(mode)) {
        report.invalid(&path.child(name), mode, BAD_MODE);
    }
}

/// A relative path without `..`.
pub(super) fn descending_path(report: &mut Report, path: &Path, file: &str) {
    if file.starts_with('/') {
        report.invalid(path, file, "must be a relative path");
    }
    no_backsteps(report, path, file);
}

/// The same, and its first name does not begin with `..` either: those belong to the kubelet.
pub(super) fn local_path(report: &mut Report, path: &Path, file: &str) {
    descending_path(report, path, file);
    if file.starts_with("..") && !file.starts_with("../") {
        report.invalid(path, file, "must not start with '..'");
    }
}

pub(super) fn has_backsteps(file: &str) -> bool {
    file.split('/').any(|part| part == "..")
}

pub(in super::super) fn no_backsteps(report: &mut Report, path: &Path, file: &str) {
    if has_backsteps(file) {
        report.invalid(path, file, "must not contain '..'");
    }
}

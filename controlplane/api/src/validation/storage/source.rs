//! Where a PersistentVolume's bytes are: one source, and what each source must say.
//!
//! Sources of storage systems that Kubernetes no longer drives itself are only checked for the fields they cannot be
//! without.

use serde_json::Value;

use super::super::fields::{Fields, is_empty};
use super::super::pod;
use super::super::report::Report;
use super::driver::driver_name;
use crate::field::Path;

/// Every source in the order in which upstream looks for it, how its field is called in complaints about it where that
/// differs, and the fields that it cannot be without.
const SOURCES: &[(&str, &str, &[&str])] = &[
    ("hostPath", "hostPath", &[]),
    ("gcePersistentDisk", "persistentDisk", &["pdName"]),
    ("awsElasticBlockStore", "awsElasticBlockStore", &["volumeID"]),
    ("glusterfs", "glusterfs", &["endpoints", "path"]),
    ("flocker", "flocker", &[]),
    ("nfs", "nfs", &[]),
    ("rbd", "rbd", &["monitors", "image"]),
    ("quobyte", "quobyte", &["registry", "volume"]),
    ("cephfs", "cephfs", &["monitors"]),
    ("iscsi", "iscsi", &["targetPortal", "iqn"]),
    ("cinder", "cinder", &["volumeID"]),
    ("fc", "fc", &[]),
    ("flexVolume", "flexVolume", &["driver"]),
    ("azureFile", "azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", "vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", "photonPersistentDisk", &["pdID"]),
    ("portworxVolume", "portworxVolume", &["volumeID"]),
    ("azureDisk", "azureDisk", &["diskName", "diskURI"]),
    ("scaleIO", "scaleIO", &["gateway", "system", "volumeName"]),
    ("local", "local", &[]),
    ("storageos", "storageos", &["volumeName"]),
    ("csi", "csi", &[]),
];
const CSI_SECRETS: &[&str] = &[
    "controllerPublishSecretRef",
    "controllerExpandSecretRef",
    "nodePublishSecretRef",
    "nodeExpandSecretRef",
];

/// The sources that a specification has.
pub(super) fn given(spec: &Value) -> Vec<(String, Value)> {
    let named = SOURCES.iter().filter_map(|(name, ..)| Some(((*name).to_owned(), spec.part(name)?.clone())));
    named.collect()
}

/// Exactly one source, and that one in order.
pub(super) fn all(report: &mut Report, spec: &Value, bound_to_nodes: bool, path: &Path) {
    let mut found = false;
    for (name, shown, needed) in SOURCES {
        let Some(source) = spec.part(name) else { continue };
        if found && *name != "flexVolume" {
            // The spelling is upstream's.
            let name = if *name == "cephfs" { "cephFS" } else { name };
            report.forbidden(&path.child(name), "may not specify more than 1 volume type");
            continue;
        }
        found = true;
        let at = path.child(shown);
        for field in needed.iter().filter(|field| is_empty(&source[**field])) {
            report.required(&at.child(field), "");
        }
        one(report, name, source, &at);
        if *name == "local" && !bound_to_nodes {
            report.required(&path.child("nodeAffinity"), "Local volume requires node affinity");
        }
    }
    if !found {
        report.required(path, "must specify a volume type");
    }
}

fn one(report: &mut Report, name: &str, source: &Value, path: &Path) {
    match name {
        "hostPath" => pod::host_path(report, source, path),
        "nfs" => pod::nfs(report, source, path),
        "local" => {
            let file = source.text("path");
            if file.is_empty() {
                report.required(&path.child("path"), "");
            } else {
                pod::no_backsteps(report, &path.child("path"), file);
            }
        }
        "azureFile" if source.part("secretNamespace").is_some_and(|name| name == "") => {
            report.required(&path.child("secretNamespace"), "");
        }
        "cinder" | "storageos" => {
            for field in ["name", "namespace"] {
                if source.part("secretRef").is_some_and(|secret| secret.text(field).is_empty()) {
                    report.required(&path.child("secretRef").child(field), "");
                }
            }
        }
        "csi" => csi(report, source, path),
        _ => {}
    }
}

fn csi(report: &mut Report, source: &Value, path: &Path) {
    driver_name(report, source.text("driver"), &path.child("driver"));
    if source.text("volumeHandle").is_empty() {
        report.required(&path.child("volumeHandle"), "");
    }
    for name in CSI_SECRETS {
        let Some(secret) = source.part(name) else { continue };
        let path = path.child(name);
        match secret.text("name") {
            "" => report.required(&path.child("name"), ""),
            name => report.dns_subdomain(&path.child("name"), name),
        }
        match secret.text("namespace") {
            "" => report.required(&path.child("namespace"), ""),
            namespace => report.dns_label(&path.child("namespace"), namespace),
        }
    }
}

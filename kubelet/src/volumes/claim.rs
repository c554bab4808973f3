//! Volumes by claim: from the claim to the volume that it is bound to, to that volume's place on this node.
//!
//! Read from the API before each first start, not watched: what is bound stays bound. Volumes that a driver makes (CSI)
//! or that are mounted from a network are not served; `fsGroup` is not laid over a volume that the administrator made.
//!
//! Reference: upstream's desired state of world populator, whose sentences these are; volume plugins local and host-path.

use std::path::{Path, PathBuf};

use client::{Client, Resource};
use serde_json::Value;

use crate::pod::Pod;

/// A claim as a volume names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub name: String,
    pub read_only: bool,
    /// Made for this pod alone.
    pub ephemeral: bool,
}

/// Where a claim's volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    HostPath { path: PathBuf, kind: String },
    Local { path: PathBuf },
}

/// Fields of a volume that say what it is.
const SOURCES: &[&str] = &[
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "glusterfs",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

/// Asks the API.
pub async fn find(client: &Client, pod: &Pod, claim: &Claim) -> Result<Found, String> {
    let (namespace, name) = (&pod.key.namespace, &claim.name);
    let wrong = |why: String| format!("error processing PVC {namespace}/{name}: {why}");
    let object = client.get(&Resource::VOLUME_CLAIMS, namespace, name).await;
    let object = object.map_err(|error| wrong(format!("failed to fetch PVC from API server: {error}")))?;
    let volume = bound(&object, pod, claim).map_err(wrong)?;
    let fetched = client.get(&Resource::VOLUMES, "", &volume).await;
    let fetched =
        fetched.map_err(|error| wrong(format!("failed to fetch PV {volume:?} from API server: {error}")))?;
    place(&object, &fetched).map_err(wrong)
}

/// The name of the volume that a claim is bound to.
fn bound(object: &Value, pod: &Pod, claim: &Claim) -> Result<String, String> {
    let meta = &object["metadata"];
    let mut owners = meta["ownerReferences"].as_array().into_iter().flatten();
    if claim.ephemeral && !owners.any(|owner| owner["uid"] == pod.uid.as_str()) {
        return Err(format!("PVC was not created for pod {} (pod is not owner)", pod.key));
    }
    if meta["deletionTimestamp"].is_string() {
        return Err("PVC is being deleted".to_owned());
    }
    match object["spec"]["volumeName"].as_str() {
        Some(name) if !name.is_empty() && object["status"]["phase"] == "Bound" => Ok(name.to_owned()),
        _ => Err("PVC is not bound".to_owned()),
    }
}

fn place(claim: &Value, volume: &Value) -> Result<Found, String> {
    let (spec, uid) = (&volume["spec"], &claim["metadata"]["uid"]);
    let reference = &spec["claimRef"]["uid"];
    if reference != uid {
        return Err(format!("PV.Spec.ClaimRef.UID ({reference}) does not point to PVC UID ({uid})"));
    }
    if spec["volumeMode"] == "Block" {
        return Err("volumes of mode Block are not supported by this kubelet".to_owned());
    }
    let text = |source: &Value, field: &str| source[field].as_str().unwrap_or_default().to_owned();
    if spec["hostPath"].is_object() {
        let own = &spec["hostPath"];
        return Ok(Found::HostPath { path: text(own, "path").into(), kind: text(own, "type") });
    }
    if spec["local"].is_object() {
        return Ok(Found::Local { path: text(&spec["local"], "path").into() });
    }
    let kind = SOURCES.iter().find(|name| spec[**name].is_object()).unwrap_or(&"an unknown kind");
    Err(format!(
        "persistent volumes of kind {kind} are not supported by this kubelet: hostPath and local are"
    ))
}

/// Whether a local volume is there.
pub fn check_local(path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(format!("path {:?} is not a directory", path.display().to_string())),
        Err(_) => Err(format!("path {:?} does not exist", path.display().to_string())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(phase: &str, claimed_by: &str, source: Value, expected: Result<Found, &str>) {
        let pod = Pod::of(json!({"metadata": {"name": "p", "namespace": "n", "uid": "P"}}));
        let claim = Claim { name: "c".into(), read_only: false, ephemeral: false };
        let object =
            json!({"metadata": {"uid": "C"}, "spec": {"volumeName": "v"}, "status": {"phase": phase}});
        let mut spec = source.clone();
        spec["claimRef"] = json!({"uid": claimed_by});
        let found = bound(&object, &pod, &claim).and_then(|_| place(&object, &json!({"spec": spec})));
        assert_eq!(found, expected.map_err(str::to_owned), "{phase} {source}");
    }

    #[test]
    fn claims_lead_to_places() {
        let local = || json!({"local": {"path": "/x"}});
        check("Bound", "C", local(), Ok(Found::Local { path: "/x".into() }));
        let host = json!({"hostPath": {"path": "/x", "type": "Directory"}});
        check("Bound", "C", host, Ok(Found::HostPath { path: "/x".into(), kind: "Directory".into() }));
        check("Pending", "C", local(), Err("PVC is not bound"));
        check("Bound", "D", local(), Err("PV.Spec.ClaimRef.UID (\"D\") does not point to PVC UID (\"C\")"));
        let csi = "persistent volumes of kind csi are not supported by this kubelet: hostPath and local are";
        check("Bound", "C", json!({"csi": {"driver": "d"}}), Err(csi));
        let block = json!({"local": {"path": "/x"}, "volumeMode": "Block"});
        check("Bound", "C", block, Err("volumes of mode Block are not supported by this kubelet"));
    }

    #[test]
    fn an_ephemeral_claim_is_its_pods() {
        let pod = Pod::of(json!({"metadata": {"name": "p", "namespace": "n", "uid": "P"}}));
        let claim = Claim { name: "p-v".into(), read_only: false, ephemeral: true };
        let of = |owner: &str| {
            let object = json!({"metadata": {"ownerReferences": [{"uid": owner}]},
                "spec": {"volumeName": "v"}, "status": {"phase": "Bound"}});
            bound(&object, &pod, &claim)
        };
        assert_eq!(of("P"), Ok("v".to_owned()));
        assert_eq!(of("Q"), Err("PVC was not created for pod n/p (pod is not owner)".to_owned()));
    }

    #[test]
    fn a_local_volume_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(check_local(folder.path()), Ok(()));
        let missing = folder.path().join("none");
        assert_eq!(
            check_local(&missing),
            Err(format!("path {:?} does not exist", missing.display().to_string()))
        );
    }
}

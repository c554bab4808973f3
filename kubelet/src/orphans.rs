//! Pods that the runtime has and the API does not: taken back from what the runtime carries for us.
//!
//! Only sandboxes with our labels are anybody's orphans: what a person runs with `crictl` stays.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cri_api::v1;
use serde_json::{Value, json};
use tonic::Status;

use crate::labels;
use crate::paths::Paths;
use crate::pod::{Pod, PodUid};
use crate::runtime::Runtime;

/// What a container without a word about it gets.
const GRACE_SECONDS: i64 = 30;

/// The pods of the runtime that are not `known`, as far as they can be told from their labels.
pub async fn find(runtime: &Runtime, known: impl Fn(&PodUid) -> bool) -> Result<Vec<Pod>, Status> {
    let sandboxes = runtime.service().list_pod_sandbox(v1::ListPodSandboxRequest::default()).await?;
    let mut unknown: BTreeMap<String, v1::PodSandbox> = BTreeMap::new();
    for sandbox in sandboxes.into_inner().items {
        let uid = sandbox.labels.get(labels::POD_UID).cloned().unwrap_or_default();
        if !uid.is_empty() && !known(&PodUid::new(uid.as_str())) {
            unknown.insert(uid, sandbox);
        }
    }
    if unknown.is_empty() {
        return Ok(Vec::new());
    }
    let containers = runtime.service().list_containers(v1::ListContainersRequest::default()).await?;
    let containers = containers.into_inner().containers;
    Ok(unknown.into_iter().map(|(uid, sandbox)| pod(&uid, &sandbox, &containers)).collect())
}

fn pod(uid: &str, sandbox: &v1::PodSandbox, containers: &[v1::Container]) -> Pod {
    let own = containers
        .iter()
        .filter(|container| container.labels.get(labels::POD_UID).is_some_and(|label| label == uid));
    let mut grace = None;
    let mut named: BTreeMap<String, Value> = BTreeMap::new();
    for container in own {
        let word = |key: &str| container.annotations.get(key).cloned();
        let number = word(labels::POD_GRACE).and_then(|text| text.parse::<i64>().ok());
        grace = grace.max(number);
        let name = container.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or_default();
        let mut value = json!({"name": name});
        if let Some(hook) = word(labels::PRE_STOP).and_then(|text| serde_json::from_str::<Value>(&text).ok())
        {
            value["lifecycle"] = json!({"preStop": hook});
        }
        named.insert(name, value);
    }
    let metadata = sandbox.metadata.clone().unwrap_or_default();
    Pod::of(json!({
        "metadata": {"name": metadata.name, "namespace": metadata.namespace, "uid": uid},
        "spec": {
            "containers": named.into_values().collect::<Vec<_>>(),
            "terminationGracePeriodSeconds": grace.unwrap_or(GRACE_SECONDS),
        },
    }))
}

/// UIDs that have folders here.
pub fn folders(paths: &Paths) -> BTreeSet<PodUid> {
    names(&paths.pods()).into_iter().map(PodUid::new).collect()
}

/// Removes logs of pods that are not `known`, and links to logs that are gone.
pub fn remove_logs(paths: &Paths, known: impl Fn(&PodUid) -> bool) {
    for name in names(&paths.pod_logs) {
        let uid = name.rsplit('_').next().filter(|_| name.matches('_').count() == 2);
        if let Some(uid) = uid
            && !known(&PodUid::new(uid))
            && let Err(error) = std::fs::remove_dir_all(paths.pod_logs.join(&name))
        {
            tracing::warn!(folder = name, %error, "the logs of a pod that is gone stay");
        }
    }
    for name in names(&paths.container_logs) {
        let link = paths.container_logs.join(name);
        if link.is_symlink() && !link.exists() {
            // Whoever comes next tries again.
            let _ = std::fs::remove_file(link);
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

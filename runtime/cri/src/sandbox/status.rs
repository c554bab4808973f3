//! A sandbox as the CRI describes it.

use std::collections::BTreeMap;

use cri_api::v1;
use serde_json::json;

use super::{Phase, SandboxRecord};

pub fn state(record: &SandboxRecord) -> v1::PodSandboxState {
    match record.phase {
        Phase::Ready => v1::PodSandboxState::SandboxReady,
        Phase::Making | Phase::NotReady => v1::PodSandboxState::SandboxNotready,
    }
}

/// One line of a list.
pub fn item(record: &SandboxRecord) -> v1::PodSandbox {
    v1::PodSandbox {
        id: record.id.to_string(),
        metadata: record.config.metadata.clone(),
        state: state(record).into(),
        created_at: record.created_at,
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        runtime_handler: record.handler.clone(),
    }
}

/// The full status. A stopped sandbox has no address any more.
pub fn status(record: &SandboxRecord) -> v1::PodSandboxStatus {
    let attached = record.attached.as_ref().filter(|_| record.phase == Phase::Ready);
    let mut addresses = attached.map(|attached| attached.addresses.clone()).unwrap_or_default().into_iter();
    let ip = addresses.next().unwrap_or_default();
    let additional_ips = addresses.map(|ip| v1::PodIp { ip }).collect();
    v1::PodSandboxStatus {
        id: record.id.to_string(),
        metadata: record.config.metadata.clone(),
        state: state(record).into(),
        created_at: record.created_at,
        network: Some(v1::PodSandboxNetworkStatus { ip, additional_ips }),
        linux: Some(v1::LinuxPodSandboxStatus {
            namespaces: Some(v1::Namespace { options: Some(record.namespace_options()) }),
        }),
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        runtime_handler: record.handler.clone(),
    }
}

/// What `crictl inspectp` shows besides.
pub fn info(record: &SandboxRecord, init: Option<i32>) -> BTreeMap<String, String> {
    let metadata = record.metadata();
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let linux = record.config.linux.clone().unwrap_or_default();
    let details = json!({
        "sandboxID": record.id,
        "pid": init.unwrap_or(0),
        "hostname": record.hostname,
        "runtimeHandler": record.handler,
        "cgroupParent": record.cgroup_parent,
        "namespaces": {"net": path(&record.net), "ipc": path(&record.ipc), "uts": path(&record.uts), "user": path(&record.user)},
        "cniResult": record.attached.as_ref().map(|attached| &attached.result),
        "config": {
            "metadata": {"name": metadata.name, "uid": metadata.uid, "namespace": metadata.namespace, "attempt": metadata.attempt},
            "hostname": record.config.hostname,
            "linux": {"overhead": resources(linux.overhead.as_ref()), "resources": resources(linux.resources.as_ref())},
            "log_directory": record.config.log_directory,
            "labels": record.config.labels,
            "annotations": record.config.annotations,
        },
    });
    BTreeMap::from([("info".to_owned(), details.to_string())])
}

fn resources(given: Option<&v1::LinuxContainerResources>) -> serde_json::Value {
    given.map_or(serde_json::Value::Null, |given| {
        json!({
            "cpu_period": given.cpu_period,
            "cpu_quota": given.cpu_quota,
            "cpu_shares": given.cpu_shares,
            "memory_limit_in_bytes": given.memory_limit_in_bytes,
            "hugepage_limits": given.hugepage_limits.iter().map(|h| (h.page_size.clone(), h.limit)).collect::<BTreeMap<_, _>>(),
            "unified": given.unified,
        })
    })
}

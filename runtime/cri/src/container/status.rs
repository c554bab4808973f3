//! A container as the CRI describes it.

use std::collections::BTreeMap;

use cri_api::v1;
use serde_json::{Value, json};

use super::{ContainerRecord, Phase, signal};

/// Why a container ended, as the kubelet shows it.
pub const COMPLETED: &str = "Completed";
pub const ERROR: &str = "Error";
pub const OOM_KILLED: &str = "OOMKilled";
pub const START_ERROR: &str = "StartError";
pub const UNKNOWN: &str = "Unknown";

pub fn state(record: &ContainerRecord) -> v1::ContainerState {
    match record.phase {
        Phase::Making | Phase::Created => v1::ContainerState::ContainerCreated,
        Phase::Running => v1::ContainerState::ContainerRunning,
        Phase::Exited => v1::ContainerState::ContainerExited,
    }
}

/// The image as the request named it.
fn image(record: &ContainerRecord) -> v1::ImageSpec {
    let asked = record.config.image.clone().unwrap_or_default();
    let shown =
        if asked.user_specified_image.is_empty() { &asked.image } else { &asked.user_specified_image };
    v1::ImageSpec { image: shown.clone(), image_ref: record.image_id.clone(), ..asked }
}

/// One line of a list.
pub fn item(record: &ContainerRecord) -> v1::Container {
    v1::Container {
        id: record.id.to_string(),
        pod_sandbox_id: record.sandbox.to_string(),
        metadata: record.config.metadata.clone(),
        image: Some(image(record)),
        image_ref: record.image_ref.clone(),
        state: state(record).into(),
        created_at: record.created_at,
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        image_id: record.image_id.clone(),
    }
}

/// The full status.
pub fn status(record: &ContainerRecord) -> v1::ContainerStatus {
    v1::ContainerStatus {
        id: record.id.to_string(),
        metadata: record.config.metadata.clone(),
        state: state(record).into(),
        created_at: record.created_at,
        started_at: record.started_at,
        finished_at: record.finished_at,
        exit_code: record.exit_code,
        image: Some(image(record)),
        image_ref: record.image_ref.clone(),
        reason: record.reason.clone(),
        message: record.message.clone(),
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        mounts: record.config.mounts.clone(),
        log_path: record.log_path.clone(),
        resources: Some(v1::ContainerResources { linux: Some(record.resources.clone()), windows: None }),
        image_id: record.image_id.clone(),
        user: Some(record.user.to_cri()),
        stop_signal: signal::to_cri(record.stop_signal).into(),
    }
}

/// What `crictl inspect` shows besides.
pub fn info(record: &ContainerRecord, specification: Option<Value>) -> BTreeMap<String, String> {
    let metadata = record.metadata();
    let details = json!({
        "sandboxID": record.sandbox,
        "pid": if record.phase == Phase::Running { record.pid } else { 0 },
        "cgroup": record.cgroup,
        "imageID": record.image_id,
        "stopSignal": record.stop_signal,
        "runtimeSpec": specification,
        "config": {
            "metadata": {"name": metadata.name, "attempt": metadata.attempt},
            "image": record.config.image.as_ref().map(|image| &image.image),
            "command": record.config.command,
            "args": record.config.args,
            "working_dir": record.config.working_dir,
            "labels": record.config.labels,
            "annotations": record.config.annotations,
            "log_path": record.config.log_path,
            "tty": record.config.tty,
            "stdin": record.config.stdin,
        },
    });
    BTreeMap::from([("info".to_owned(), details.to_string())])
}

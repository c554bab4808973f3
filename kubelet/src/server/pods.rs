//! `/pods` and `/runningpods`: what this node runs, as its workers saw it last.

use serde_json::{Value, json};

use crate::directory::{Directory, PodView};
use crate::observed::State;

/// Every pod with its latest status.
pub(super) fn all(pods: &Directory) -> Value {
    list(pods.all().iter().map(|view| with_status(view)))
}

/// What runs: pods with a ready sandbox, and those of their containers that run.
pub(super) fn running(pods: &Directory) -> Value {
    let views = pods.all();
    list(views.iter().filter_map(|view| {
        view.observed.ready_sandbox()?;
        let names: Vec<Value> = view
            .observed
            .containers
            .iter()
            .filter(|container| container.state == State::Running)
            .map(|container| {
                let image = container.status.image_ref.clone();
                json!({"name": container.name, "image": image, "resources": {}})
            })
            .collect();
        let (key, uid) = (&view.pod.key, view.pod.uid.as_str());
        Some(json!({
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid, "creationTimestamp": null},
            "spec": {"containers": names},
            "status": {},
        }))
    }))
}

fn with_status(view: &PodView) -> Value {
    let mut pod = view.pod.value().clone();
    if view.status.is_object() {
        pod["status"] = (*view.status).clone();
    }
    pod
}

fn list(items: impl Iterator<Item = Value>) -> Value {
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items.collect::<Vec<_>>()})
}

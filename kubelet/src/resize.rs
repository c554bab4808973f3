//! A resize of a pod that runs: what became of it, and what users hear.
//!
//! ```text
//! asked for --(no room on this node, ever)--> Infeasible          both: condition PodResizePending
//!           --(no room now)-----------------> Deferred
//!           --(granted)--> in progress --(given to all that runs)--> done
//!                          condition PodResizeInProgress, with reason Error while it does not succeed
//! ```
//!
//! Not here: whether there is room ([`crate::admission`]), what the containers get (`plan/resize.rs`).
//!
//! Reference: KEP-1287; events and conditions of upstream's `kubelet/allocation` and `kubelet/events`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::container_config::Sizes;
use crate::pod::Pod;

pub const PENDING: &str = "PodResizePending";
pub const IN_PROGRESS: &str = "PodResizeInProgress";

pub const STARTED: &str = "ResizeStarted";
pub const COMPLETED: &str = "ResizeCompleted";
pub const ERROR: &str = "ResizeError";

/// Why a resize is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// There may be room later.
    Deferred,
    /// The node is too small.
    Infeasible,
}

/// A resize that is not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub wait: Wait,
    pub message: String,
    /// Of the pod that asked.
    pub generation: i64,
}

/// A resize that is granted and not yet given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub generation: i64,
    /// Why the last try failed.
    pub error: Option<String>,
    pub given: Given,
}

/// What has been given since the resize was granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// By the containers' ids.
    pub containers: BTreeMap<String, Sizes>,
    /// The pod's own cgroup has its values.
    pub pod: bool,
}

/// Both may be: a second resize waits while the first is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resize {
    pub pending: Option<Pending>,
    pub progress: Option<Progress>,
}

impl Wait {
    /// The condition's reason.
    pub fn reason(self) -> &'static str {
        match self {
            Wait::Deferred => "Deferred",
            Wait::Infeasible => "Infeasible",
        }
    }

    pub fn event(self) -> &'static str {
        match self {
            Wait::Deferred => "ResizeDeferred",
            Wait::Infeasible => "ResizeInfeasible",
        }
    }
}

impl Resize {
    pub fn is_deferred(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.wait == Wait::Deferred)
    }
}

/// A condition of a status.
pub fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == kind)
}

/// The message of an event: `Pod resize started: {"containers":[...],"generation":2}`.
pub fn message(what: &str, pod: &Pod, generation: i64, error: Option<&str>) -> String {
    let mut summary = Map::new();
    for (list, containers) in [("initContainers", &pod.init), ("containers", &pod.main)] {
        let shown: Vec<Value> = containers
            .iter()
            .map(|container| json!({"name": container.name, "resources": shown(&container.value["resources"])}))
            .collect();
        if !shown.is_empty() {
            summary.insert(list.to_owned(), shown.into());
        }
    }
    summary.insert("generation".to_owned(), generation.into());
    if let Some(error) = error {
        summary.insert("error".to_owned(), error.into());
    }
    format!("Pod resize {what}: {}", Value::Object(summary))
}

/// Limits before requests, names in order.
fn shown(resources: &Value) -> Value {
    let mut out = Map::new();
    for kind in ["limits", "requests"] {
        let amounts: BTreeMap<&String, &Value> = resources[kind].as_object().into_iter().flatten().collect();
        if !amounts.is_empty() {
            out.insert(kind.to_owned(), json!(amounts));
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_tell_what_is_asked() {
        let pod = Pod::of(json!({"spec": {"initContainers": [{"name": "i"}], "containers": [{"name": "c",
            "resources": {"requests": {"memory": "1Gi", "cpu": "1"}, "limits": {"cpu": "2"}}}]}}));
        assert_eq!(
            message("completed", &pod, 3, None),
            "Pod resize completed: {\"initContainers\":[{\"name\":\"i\",\"resources\":{}}],\"containers\":[{\"name\":\"c\",\"resources\":\
             {\"limits\":{\"cpu\":\"2\"},\"requests\":{\"cpu\":\"1\",\"memory\":\"1Gi\"}}}],\"generation\":3}"
        );
        let told = message(Wait::Deferred.reason(), &pod, 3, Some("no room"));
        assert!(
            told.starts_with("Pod resize Deferred: {")
                && told.ends_with("\"generation\":3,\"error\":\"no room\"}")
        );
    }
}

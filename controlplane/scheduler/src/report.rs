//! Tells the pod's owner why it has no node, the condition `PodScheduled`, and which one it is promised.

use api::time::format_seconds;
use client::{Client, ClientError, Patch, Resource};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::node::NodeName;
use crate::pod::{Condition, Pod};

/// The condition to be written; `None` where the pod has it.
pub fn condition(pod: &Pod, reason: &str, message: &str, now: Timestamp) -> Option<Value> {
    let (status, had) = ("False", pod.condition.clone().unwrap_or_default());
    // A condition without a time is one that was never written.
    let since = if had.status == status && !had.last_transition_time.is_empty() {
        had.last_transition_time.clone()
    } else {
        format_seconds(now)
    };
    let wanted = Condition {
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        last_transition_time: since.clone(),
    };
    if wanted == had {
        return None;
    }
    let mut condition = json!({
        "type": "PodScheduled", "status": status, "reason": reason, "message": message,
        "lastProbeTime": null, "lastTransitionTime": since,
    });
    if pod.generation > 0 {
        condition["observedGeneration"] = pod.generation.into();
    }
    Some(condition)
}

/// What becomes of `status.nominatedNodeName`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nomination {
    Stays,
    Cleared,
    Of(NodeName),
}

/// The patch that tells all this; `None` where there is nothing to tell.
pub fn patch(pod: &Pod, condition: Option<Value>, nomination: &Nomination) -> Option<Value> {
    let mut status = json!({});
    if let Some(condition) = condition {
        status["conditions"] = json!([condition]);
    }
    match nomination {
        Nomination::Of(node) => status["nominatedNodeName"] = node.as_str().into(),
        Nomination::Cleared => status["nominatedNodeName"] = Value::Null,
        Nomination::Stays => {}
    }
    // The UID keeps it off a new pod of the same name.
    let patch = json!({"metadata": {"uid": pod.uid.as_str()}, "status": status});
    status.as_object().is_some_and(|status| !status.is_empty()).then_some(patch)
}

/// Writes the patch; whether the pod is still there and the same.
pub async fn report(client: &Client, pod: &Pod, patch: &Value) -> Result<bool, ClientError> {
    let (namespace, name) = (&pod.key.namespace, &pod.key.name);
    match client.patch_subresource(&Resource::PODS, namespace, name, "status", Patch::Strategic, patch).await
    {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(condition: Value) -> Pod {
        Pod::read(&json!({"metadata": {"name": "a", "generation": 2}, "status": {"conditions": [condition]}}))
    }

    #[test]
    fn only_what_is_new_is_written() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let had = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "m",
            "lastTransitionTime": "2025-01-01T00:00:00Z"});
        let of = |pod: &Pod, message: &str| condition(pod, "Unschedulable", message, now);
        assert_eq!(of(&pod(had.clone()), "m"), None);
        let newer = of(&pod(had), "n").unwrap();
        assert_eq!(newer["lastTransitionTime"], "2025-01-01T00:00:00Z", "the status has not changed");
        let first = of(&pod(json!({"type": "Ready"})), "n").unwrap();
        assert_eq!(first["lastTransitionTime"], "2026-01-02T03:04:05Z");
        assert_eq!((&first["status"], &first["observedGeneration"]), (&"False".into(), &2.into()));
    }

    #[test]
    fn what_is_said_of_the_nomination() {
        let pod = pod(json!({}));
        let status =
            |condition, nomination| patch(&pod, condition, &nomination).map(|patch| patch["status"].clone());
        assert_eq!(status(None, Nomination::Stays), None);
        let condition = json!({"type": "PodScheduled"});
        assert_eq!(
            status(Some(condition.clone()), Nomination::Stays),
            Some(json!({"conditions": [condition]}))
        );
        assert_eq!(status(None, Nomination::Cleared), Some(json!({"nominatedNodeName": null})));
        let node = Nomination::Of(NodeName::new("n"));
        assert_eq!(status(None, node), Some(json!({"nominatedNodeName": "n"})));
    }
}

//! Which pods go first when there are too many. Pure.
//!
//! Reference: upstream's ActivePodsWithRanks.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

use client::Object;
use jiff::Timestamp;
use serde_json::Value;

use crate::fields::{list, text, time};
use crate::pod;

const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The `many` pods that are missed least.
pub(crate) fn first_to_go(
    owned: &[Arc<Object>],
    all: &[Arc<Object>],
    related: &[String],
    many: usize,
    now: Timestamp,
) -> Vec<Arc<Object>> {
    let mut crowds: HashMap<&str, usize> = HashMap::new();
    for object in all {
        let ours = object.meta().controller().is_some_and(|owner| related.iter().any(|uid| uid == owner.uid));
        if ours && pod::is_active(object.value()) {
            *crowds.entry(text(object.value(), "/spec/nodeName")).or_default() += 1;
        }
    }
    let mut ranked: Vec<&Arc<Object>> = owned.iter().collect();
    ranked.sort_by(|a, b| {
        let crowd = |pod: &Object| crowds.get(text(pod.value(), "/spec/nodeName")).copied().unwrap_or(0);
        compare(a.value(), crowd(a), b.value(), crowd(b), now)
    });
    ranked.into_iter().take(many).cloned().collect()
}

/// `Less` goes first.
fn compare(a: &Value, crowd_a: usize, b: &Value, crowd_b: usize, now: Timestamp) -> Ordering {
    let placed = |pod: &Value| !text(pod, "/spec/nodeName").is_empty();
    let phase = |pod: &Value| match text(pod, "/status/phase") {
        "Pending" | "" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let cost = |pod: &Value| -> i32 {
        let text = pod["metadata"]["annotations"][COST].as_str();
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let restarts = |pod: &Value| -> i64 {
        list(pod, "/status/containerStatuses")
            .iter()
            .filter_map(|status| status["restartCount"].as_i64())
            .max()
            .unwrap_or(0)
    };
    let created = |pod: &Value| time(pod, "/metadata/creationTimestamp");
    placed(a)
        .cmp(&placed(b))
        .then_with(|| phase(a).cmp(&phase(b)))
        .then_with(|| pod::is_ready(a).cmp(&pod::is_ready(b)))
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| Reverse(crowd_a).cmp(&Reverse(crowd_b)))
        .then_with(|| younger(pod::ready_since(a), pod::ready_since(b), now))
        .then_with(|| Reverse(restarts(a)).cmp(&Reverse(restarts(b))))
        .then_with(|| younger(Some(created(a)), Some(created(b)), now))
}

/// The younger goes first; ages of the same power of two are equal, so that not always the newest goes.
fn younger(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp) -> Ordering {
    let magnitude = |since: Option<Timestamp>| {
        since.map(|since| now.duration_since(since).as_secs().max(0).checked_ilog2().map_or(0, |log| log + 1))
    };
    magnitude(a).cmp(&magnitude(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::Resource;
    use serde_json::json;

    #[test]
    fn each_criterion_decides() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let base = |name: &str| {
            json!({"metadata": {"name": name, "namespace": "n", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": [{"uid": "S", "controller": true}]},
                "spec": {"nodeName": "x"}, "status": {"phase": "Running", "conditions": [
                    {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                    "containerStatuses": [{"restartCount": 0}]}})
        };
        let changed = |pointer: &str, value: Value| {
            let mut pod = base("z-first");
            *pod.pointer_mut(pointer).unwrap() = value;
            pod
        };
        for first in [
            changed("/spec/nodeName", json!("")),
            changed("/status/phase", json!("Pending")),
            changed("/status/conditions/0/status", json!("False")),
            changed(
                "/metadata",
                json!({"name": "z-first", "namespace": "n", "uid": "z", "annotations": {COST: "-5"}}),
            ),
            changed("/status/conditions/0/lastTransitionTime", json!("2026-01-01T23:59:00Z")),
            changed("/status/containerStatuses/0/restartCount", json!(3)),
            changed("/metadata/creationTimestamp", json!("2026-01-01T23:59:00Z")),
        ] {
            let pods: Vec<_> =
                [base("a"), first.clone()].map(|pod| Arc::new(Object::of(&Resource::PODS, pod))).into();
            let chosen = first_to_go(&pods, &pods, &["S".into()], 1, now);
            assert_eq!(chosen[0].key.name, "z-first", "{first}");
        }
    }

    #[test]
    fn the_crowded_node_gives_first() {
        let pod = |name: &str, node: &str| {
            Arc::new(Object::of(
                &Resource::PODS,
                json!({"metadata": {"name": name, "namespace": "n", "uid": name,
                "ownerReferences": [{"uid": "S", "controller": true}]}, "spec": {"nodeName": node}, "status": {"phase": "Running"}}),
            ))
        };
        let pods = vec![pod("a", "x"), pod("b", "y"), pod("c", "y")];
        let chosen = first_to_go(&pods, &pods, &["S".into()], 1, Timestamp::UNIX_EPOCH);
        assert_eq!(chosen[0].key.name, "b");
    }
}

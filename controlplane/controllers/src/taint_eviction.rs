//! Taint eviction: a pod that does not tolerate a NoExecute taint of its node leaves, at once or after the time that
//! it tolerates it.
//!
//! Which node gets such a taint is `node_lifecycle`'s.
//!
//! Reference: upstream's pkg/controller/tainteviction.

use std::sync::Arc;
use std::time::Duration;

use client::{
    Cache, Client, ClientError, EventKind, EventRecorder, Key, Outcome, Patch, Reference, Resource,
    WorkQueue, work,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::context::Context;
use crate::fields::{is_deleting, list, text, time};
use crate::node_fit::toleration;
use crate::pod;

const NAME: &str = "node-controller";
const WORKERS: usize = 8;

struct Controller {
    client: Client,
    events: EventRecorder,
    nodes: Cache,
    pods: Cache,
}

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let client = context.client_of(NAME)?;
    let controller = Arc::new(Controller {
        events: EventRecorder::start(client.clone(), "taint-eviction-controller", ""),
        client,
        nodes: context.caches.of(&Resource::NODES),
        pods: context.caches.of(&Resource::PODS),
    });
    controller.nodes.synced().await;
    controller.pods.synced().await;
    let (queue, pods_by_node) = (WorkQueue::new(), context.pods_by_node());
    let (adding, nodes) = (queue.clone(), controller.nodes.clone());
    controller.pods.subscribe(move |change| {
        let Some(pod) = change.after else { return };
        let node = nodes.get(&Key::new("", text(pod.value(), "/spec/nodeName")));
        if node.is_some_and(|node| !evicting(node.value()).is_empty()) {
            adding.add(change.key.clone());
        }
    });
    let adding = queue.clone();
    controller.nodes.subscribe(move |change| {
        let taints = |node: &Value| node["spec"]["taints"].clone();
        let (before, after) =
            (change.before.map(|node| taints(node.value())), change.after.map(|node| taints(node.value())));
        if before == after || change.after.is_none_or(|node| evicting(node.value()).is_empty()) {
            return;
        }
        pods_by_node.of(&change.key.name).into_iter().for_each(|pod| adding.add(pod));
    });
    work(NAME, queue, WORKERS, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
    Ok(())
}

/// The taints that pods leave.
fn evicting(node: &Value) -> Vec<&Value> {
    list(node, "/spec/taints").iter().filter(|taint| taint["effect"] == "NoExecute").collect()
}

/// How long the pod may stay: `None` for ever.
fn left(pod: &Value, node: &Value, now: Timestamp) -> Option<Duration> {
    let tolerations = list(pod, "/spec/tolerations");
    let stays = evicting(node).into_iter().filter_map(|taint| {
        let Some(found) = toleration(tolerations, taint) else { return Some(SignedDuration::ZERO) };
        let seconds = found["tolerationSeconds"].as_i64()?;
        let since = match text(taint, "/timeAdded") {
            "" => now,
            _ => time(taint, "/timeAdded"),
        };
        Some(SignedDuration::from_secs(seconds.max(0)).saturating_sub(now.duration_since(since)))
    });
    stays.min().map(|left| if left.is_positive() { left.unsigned_abs() } else { Duration::ZERO })
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, ClientError> {
        let Some(pod) =
            self.pods.get(key).filter(|pod| !is_deleting(pod.value()) && !pod::is_over(pod.value()))
        else {
            return Ok(Outcome::Done);
        };
        let Some(node) = self.nodes.get(&Key::new("", text(pod.value(), "/spec/nodeName"))) else {
            return Ok(Outcome::Done);
        };
        let now = (self.client.surroundings().now)();
        match left(pod.value(), node.value(), now) {
            None => return Ok(Outcome::Done),
            Some(wait) if !wait.is_zero() => return Ok(Outcome::After(wait)),
            Some(_) => {}
        }
        let message = format!("Marking for deletion Pod {key}");
        self.events.record(Reference::to(&pod), EventKind::Normal, "TaintManagerEviction", message);
        let patch = json!({"status": {"conditions": [{"type": "DisruptionTarget", "status": "True",
            "reason": "DeletionByTaintManager", "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": api::time::format_seconds(now)}]}});
        let (pods, namespace, name) = (&Resource::PODS, &key.namespace, &key.name);
        let told =
            self.client.patch_subresource(pods, namespace, name, "status", Patch::Strategic, &patch).await;
        let gone = match told {
            Ok(_) => self.client.delete(pods, namespace, name, Some(&pod.uid), None).await,
            told => told,
        };
        match gone {
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(Outcome::Done),
            gone => gone.map(|_| Outcome::Done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_pod_may_stay() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let node = json!({"spec": {"taints": [{"key": "k", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:30Z"},
            {"key": "other", "effect": "NoSchedule"}]}});
        let pod = |tolerations: Value| json!({"spec": {"tolerations": tolerations}});
        for (pod, expect) in [
            (pod(json!([])), Some(0)),
            (pod(json!([{"key": "k", "operator": "Exists"}])), None),
            (pod(json!([{"key": "k", "operator": "Exists", "tolerationSeconds": 300}])), Some(270)),
            (pod(json!([{"key": "k", "operator": "Exists", "tolerationSeconds": 10}])), Some(0)),
        ] {
            assert_eq!(left(&pod, &node, now), expect.map(Duration::from_secs), "{pod}");
        }
        // Longer than there is time, from a taint of tomorrow.
        let mut tomorrow = node;
        tomorrow["spec"]["taints"][0]["timeAdded"] = "2026-01-02T00:00:00Z".into();
        let long = pod(json!([{"key": "k", "operator": "Exists", "tolerationSeconds": i64::MAX}]));
        assert!(left(&long, &tomorrow, now).is_some_and(|left| left.as_secs() == i64::MAX.unsigned_abs()));
        assert_eq!(left(&pod(json!([])), &json!({}), now), None);
    }
}

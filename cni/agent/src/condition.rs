//! The Node's condition NetworkUnavailable: False once pods of this node are connected.
//!
//! Never True: a node without a network has no CNI configuration, and its kubelet says so in Ready.
//!
//! Reference: upstream's route controller, whose reason this is.

use std::time::Duration;

use client::{Backoff, Cache, Client, ClientError, Key, Patch, Resource};
use serde_json::{Value, json};
use tokio::sync::watch;

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Runs until dropped. `changed` wakes it: the node is ready, or its object is another one.
pub async fn keep(client: Client, node: Key, cache: Cache, mut ready: watch::Receiver<bool>) {
    let (changed, mut changes) = watch::channel(());
    // The last value is all that counts, so nothing is lost while a patch is under way.
    cache.subscribe(move |_| changed.send_replace(()));
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        changes.mark_unchanged();
        let wanted = if *ready.borrow_and_update() { cache.get(&node) } else { None };
        let outcome = match wanted {
            Some(object) if needs_it(object.value()) => say(&client, &node).await,
            _ => Ok(()),
        };
        if let Err(error) = outcome {
            let wait = backoff.next(client.surroundings().random);
            tracing::warn!(node = %node.name, %error, wait = ?wait, "the condition NetworkUnavailable is not written");
            tokio::time::sleep(wait).await;
            continue;
        }
        backoff.reset();
        tokio::select! {
            changed = ready.changed() => if changed.is_err() { return },
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

fn needs_it(node: &Value) -> bool {
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == "NetworkUnavailable");
    found.is_none_or(|condition| condition["status"] != "False")
}

async fn say(client: &Client, node: &Key) -> Result<(), ClientError> {
    let now = api::time::format_seconds((client.surroundings().now)());
    let patch = json!({"status": {"conditions": [{
        "type": "NetworkUnavailable", "status": "False", "reason": "RouteCreated",
        "message": "Keelson's network agent connects the pods of this node",
        "lastHeartbeatTime": now, "lastTransitionTime": now}]}});
    let nodes = &Resource::NODES;
    match client.patch_subresource(nodes, "", &node.name, "status", Patch::Strategic, &patch).await {
        Err(error) if error.is_not_found() => Ok(()),
        answer => answer.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_false_is_written() {
        let check = |conditions: Value, expect: bool| {
            assert_eq!(needs_it(&json!({"status": {"conditions": conditions}})), expect, "{conditions}");
        };
        check(json!([]), true);
        check(json!([{"type": "Ready", "status": "False"}]), true);
        check(json!([{"type": "NetworkUnavailable", "status": "True"}]), true);
        check(json!([{"type": "NetworkUnavailable", "status": "False"}]), false);
    }
}

//! The node's heartbeat: a Lease of its name, renewed every ten seconds.
//!
//! Reference: KEP-589.

use std::time::Duration;

use api::time::format_micros;
use client::{Backoff, Client, ClientError, Patch, Resource};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub const NAMESPACE: &str = "kube-node-lease";
const DURATION_SECONDS: u64 = 40;
const RENEW: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(7);

/// Renews until `stopping`.
pub async fn renew(client: Client, node: String, stopping: CancellationToken) {
    let surroundings = client.surroundings();
    let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
    loop {
        let wait = match once(&client, &node).await {
            Ok(()) => {
                backoff.reset();
                RENEW
            }
            Err(error) => {
                tracing::warn!(node, %error, "the node's lease is not renewed");
                backoff.next(surroundings.random)
            }
        };
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn once(client: &Client, node: &str) -> Result<(), ClientError> {
    let now = format_micros((client.surroundings().now)());
    let spec = json!({"holderIdentity": node, "leaseDurationSeconds": DURATION_SECONDS, "renewTime": now});
    let patch = json!({"spec": spec});
    match client.patch(&Resource::LEASES, NAMESPACE, node, Patch::Merge, &patch).await {
        Err(error) if error.is_not_found() => create(client, node, spec).await,
        answer => answer.map(drop),
    }
}

/// The node owns it, so that it goes with the node.
async fn create(client: &Client, node: &str, spec: Value) -> Result<(), ClientError> {
    let object = client.get(&Resource::NODES, "", node).await?;
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": node, "uid": object["metadata"]["uid"]});
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": node, "namespace": NAMESPACE, "ownerReferences": [owner]},
        "spec": spec,
    });
    client.create(&Resource::LEASES, NAMESPACE, &lease).await.map(drop)
}

//! Gives a pod its node through the API.
//!
//! Reference: `pods/NAME/binding`, which takes the node only once and only for the UID named.

use std::time::Duration;

use client::{Backoff, Client, ClientError, Resource};
use serde_json::json;

use crate::node::NodeName;
use crate::pod::Pod;

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How a binding ended.
#[derive(Debug)]
pub enum Binding {
    /// The pod is on the node.
    Made,
    /// It is not, for certain.
    Refused(ClientError),
    /// Somebody else has put it on another node; the cache will tell.
    Elsewhere,
}

/// Binds, and finds out what happened where the answer does not say.
pub async fn bind(client: &Client, pod: &Pod, node: &NodeName) -> Binding {
    let (namespace, name) = (pod.key.namespace.as_str(), pod.key.name.as_str());
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": name, "namespace": namespace, "uid": pod.uid.as_str()},
        "target": {"kind": "Node", "name": node.as_str()},
    });
    let error = match client.create_subresource(&Resource::PODS, namespace, name, "binding", &binding).await {
        Ok(_) => return Binding::Made,
        Err(error) if is_certain(&error) => return Binding::Refused(error),
        Err(error) => error,
    };
    // Refused, unless a lost answer of ours, or somebody else, has bound it. As long as nobody can tell, the pod's
    // room must stay taken: so this is asked until there is an answer, however long the API is away.
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    if error.status().is_none() {
        // What is still on its way gets the time to arrive.
        tokio::time::sleep(backoff.next(client.surroundings().random)).await;
    }
    loop {
        match client.get(&Resource::PODS, namespace, name).await {
            Ok(now) => {
                let now = Pod::read(&now);
                return match now.node {
                    Some(there) if now.uid == pod.uid && there == *node => Binding::Made,
                    Some(_) if now.uid == pod.uid => Binding::Elsewhere,
                    _ => Binding::Refused(error),
                };
            }
            Err(gone) if gone.is_not_found() => return Binding::Refused(error),
            Err(_) => tokio::time::sleep(backoff.next(client.surroundings().random)).await,
        }
    }
}

/// Whether the server refused before it did anything. A conflict may be with ourselves.
fn is_certain(error: &ClientError) -> bool {
    error.status().is_some_and(|status| (400..500).contains(&status.code) && status.code != 409)
}

//! Gives a pod its node through the API.
//!
//! Reference: `pods/NAME/binding`, which takes the node only once and only for the UID named.

use std::time::Duration;

use client::{Backoff, Client, ClientError, Resource};
use serde_json::json;

use crate::node::NodeName;
use crate::pod::Pod;

/// How often it is asked what became of a binding whose answer was lost.
const ASKED_AT_MOST: u32 = 8;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How a binding ended.
#[derive(Debug)]
pub enum Binding {
    /// The pod is on the node.
    Made,
    /// It is not, for certain.
    Refused(ClientError),
    /// Nobody knows: the pod's room must stay taken until the cache tells.
    Unknown(ClientError),
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
        Err(error) if error.is_not_found() => return Binding::Refused(error),
        Err(error) => error,
    };
    // Refused for certain, unless somebody else or a lost answer of ours has bound it.
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    for _ in 0..ASKED_AT_MOST {
        match client.get(&Resource::PODS, namespace, name).await {
            Ok(now) => {
                let now = Pod::read(&now);
                return match now.node {
                    Some(there) if now.uid == pod.uid && there == *node => Binding::Made,
                    // The cache will tell where it is.
                    Some(_) if now.uid == pod.uid => Binding::Unknown(error),
                    _ => Binding::Refused(error),
                };
            }
            Err(gone) if gone.is_not_found() => return Binding::Refused(error),
            Err(_) => tokio::time::sleep(backoff.next(client.surroundings().random)).await,
        }
    }
    Binding::Unknown(error)
}

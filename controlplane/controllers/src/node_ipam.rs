//! Ranges of pod addresses: every Node gets one subnet of each cluster range.
//!
//! Not addresses of pods (the CNI plugin's), nor routes between nodes (the network agent's).
//!
//! What is taken is what Nodes say, and what was written here and is not seen yet; nothing else is kept. One
//! worker decides, so two Nodes never get the same subnet, also not across a restart: the first list holds every
//! write that was ever acknowledged. A Node's range is free again when the Node is gone.
//!
//! Reference: upstream's pkg/controller/nodeipam, `RangeAllocator`; its flags, event and identity.

mod plan;
mod subnets;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use client::{
    Cache, Client, ClientError, EventKind, EventRecorder, Key, Object, Outcome, Patch, Reference, Resource,
    WorkQueue, work,
};
use ipnet::IpNet;
use serde_json::json;

use crate::context::Context;
use crate::fields::text;
use plan::Step;

pub use subnets::{ClusterRange, RangeError};

const NAME: &str = "node-controller";
/// More would race for the same subnet.
const WORKERS: usize = 1;

struct Controller {
    client: Client,
    events: EventRecorder,
    nodes: Cache,
    ranges: Vec<ClusterRange>,
    /// Written, and not yet seen in the cache: the Node's UID and what it got.
    written: Mutex<HashMap<Key, (String, Vec<IpNet>)>>,
}

pub(crate) async fn run(context: Arc<Context>, ranges: Vec<ClusterRange>) -> Result<(), ClientError> {
    let client = context.client_of(NAME)?;
    let controller = Arc::new(Controller {
        events: EventRecorder::start(client.clone(), "cidrAllocator", ""),
        client,
        nodes: context.caches.of(&Resource::NODES),
        ranges,
        written: Mutex::default(),
    });
    controller.nodes.synced().await;
    let queue = WorkQueue::new();
    let (adding, nodes) = (queue.clone(), controller.nodes.clone());
    controller.nodes.subscribe(move |change| match change.after {
        Some(node) if plan::wants_a_range(node.value()) => adding.add(change.key.clone()),
        Some(_) => {}
        // Its range may be what another one waits for.
        None => {
            adding.add(change.key.clone());
            let waiting = nodes.list("").into_iter().filter(|node| plan::wants_a_range(node.value()));
            waiting.for_each(|node| adding.add(node.key.clone()));
        }
    });
    work("node-ipam-controller", queue, WORKERS, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
    Ok(())
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, ClientError> {
        let nodes = self.nodes.list("");
        let taken = self.taken(&nodes);
        let Some(node) = self.nodes.get(key) else { return Ok(Outcome::Done) };
        if self.has_been_written(key, &node.uid) {
            return Ok(Outcome::Done);
        }
        match plan::plan(node.value(), &self.ranges, &taken) {
            None => Ok(Outcome::Done),
            Some(Step::Exhausted(range)) => {
                tracing::warn!(node = %key.name, range = %range, "no subnet is free for this node");
                let message = format!("Node {} status is now: CIDRNotAvailable", key.name);
                self.events.record(Reference::to(&node), EventKind::Normal, "CIDRNotAvailable", message);
                // A Node that goes brings this one back.
                Ok(Outcome::Done)
            }
            Some(Step::Assign(subnets)) => self.assign(key, &node, subnets).await,
        }
    }

    async fn assign(&self, key: &Key, node: &Object, subnets: Vec<IpNet>) -> Result<Outcome, ClientError> {
        let texts: Vec<String> = subnets.iter().map(ToString::to_string).collect();
        // The UID: another Node of this name is another question. Other changes of this one do not matter.
        let patch =
            json!({"metadata": {"uid": node.uid}, "spec": {"podCIDR": texts.first(), "podCIDRs": texts}});
        match self.client.patch(&Resource::NODES, "", &key.name, Patch::Merge, &patch).await {
            Ok(_) => {
                tracing::info!(node = %key.name, ranges = ?texts, "pods of this node have their addresses");
                let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
                written.insert(key.clone(), (node.uid.clone(), subnets));
                Ok(Outcome::Done)
            }
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(Outcome::Again),
            Err(error) => {
                // The answer may be lost and the write done: nobody else gets this subnet until it is known.
                let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
                if error.status().is_none() {
                    let doubtful = (String::new(), subnets);
                    written.insert(key.clone(), doubtful);
                }
                drop(written);
                let message = format!("Node {} status is now: CIDRAssignmentFailed", key.name);
                self.events.record(Reference::to(node), EventKind::Normal, "CIDRAssignmentFailed", message);
                Err(error)
            }
        }
    }

    /// All subnets that somebody has.
    fn taken(&self, nodes: &[Arc<Object>]) -> Vec<IpNet> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|key, _| {
            nodes.iter().any(|node| node.key == *key && text(node.value(), "/spec/podCIDR").is_empty())
        });
        let seen = nodes.iter().flat_map(|node| plan::ranges_of(node.value()));
        seen.chain(written.values().flat_map(|(_, subnets)| subnets.iter().copied())).collect()
    }

    fn has_been_written(&self, key: &Key, uid: &str) -> bool {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.get(key).is_some_and(|(of, _)| of == uid)
    }
}

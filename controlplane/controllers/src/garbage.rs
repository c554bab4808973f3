//! The garbage collector: what belongs to nobody any more is deleted.
//!
//! | | |
//! |---|---|
//! | background | the owner is gone: its dependents follow |
//! | foreground | the owner waits, deleted, until the dependents that block it are gone |
//! | orphan | the dependents lose their reference, then the owner goes |
//!
//! Not by name: an owner is its UID. Before a dependent is deleted its owner is asked for live: the graph, fed by
//! one cache per kind, may be behind.
//!
//! Built-in kinds are those that discovery tells at the start; custom ones come and go with their definitions. Kinds of
//! aggregated servers are not collected. Reference: upstream's pkg/controller/garbagecollector.

mod custom;
mod execute;
mod graph;
mod plan;

use std::sync::{Arc, Mutex, PoisonError};

use client::{Cache, Client, ClientError, Resource, WorkQueue, work};

use crate::context::Context;
use crate::discovery;
use custom::Custom;
use graph::Graph;

const NAME: &str = "generic-garbage-collector";
const WORKERS: usize = 8;
/// How long until discovery is asked again at the start.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

struct Collector {
    client: Client,
    graph: Arc<Mutex<Graph>>,
    /// Built-in kinds.
    resources: Vec<Resource>,
    custom: Arc<Custom>,
    queue: WorkQueue<String>,
}

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let served = loop {
        match discovery::served(&context.client).await {
            Ok(served) => break served,
            Err(error) => {
                tracing::warn!(controller = NAME, %error, "which kinds there are is not known yet");
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    let graph: Arc<Mutex<Graph>> = Arc::default();
    let queue = WorkQueue::new();
    let collected = |kind: &&discovery::Served| {
        kind.can("delete") && kind.can("list") && kind.can("watch") && kind.resource.plural != "events"
    };
    let definitions = context.caches.of(&crate::discovery::DEFINITIONS);
    definitions.synced().await;
    let custom = Custom::new(context.client.clone(), definitions, graph.clone(), queue.clone());
    let mut caches = custom.settle();
    for kind in served.iter().filter(collected).filter(|kind| !custom.has(&kind.resource)) {
        let cache = context.caches.of(&kind.resource);
        feed(&cache, &graph, &queue);
        caches.push(cache);
    }
    // Before every kind is known, an owner that is missing says nothing.
    for cache in &caches {
        cache.synced().await;
    }
    let resources = served.into_iter().map(|kind| kind.resource).collect();
    let collector = Arc::new(Collector {
        client: context.client_of(NAME)?,
        graph,
        resources,
        custom: custom.clone(),
        queue: queue.clone(),
    });
    let working = work(NAME, queue, WORKERS, move |uid: String| {
        let collector = collector.clone();
        async move { collector.reconcile(&uid).await }
    });
    tokio::select! { () = working => {}, () = custom.follow() => {} }
    Ok(())
}

/// Brings the changes of a kind to the graph, and what must be looked at because of them to the queue.
fn feed(cache: &Cache, graph: &Arc<Mutex<Graph>>, queue: &WorkQueue<String>) {
    let (graph, adding) = (graph.clone(), queue.clone());
    cache.subscribe(move |change| {
        let look = graph.lock().unwrap_or_else(PoisonError::into_inner).apply(&change);
        look.into_iter().for_each(|uid| adding.add(uid));
    });
}

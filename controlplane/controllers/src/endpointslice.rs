//! EndpointSlices: the addresses and ports behind every Service that selects pods.
//!
//! Not Services without a selector: their slices are somebody else's. One family per slice, at most a hundred
//! endpoints in each.
//!
//! Reference: upstream's pkg/controller/endpointslice, KEP-752, KEP-1672 (terminating endpoints).

pub(crate) mod endpoints;
mod plan;

use std::collections::BTreeSet;
use std::sync::Arc;

use api::selector::LabelSelector;
use client::{Cache, Change, Client, ClientError, Index, Key, Object, Outcome, Resource, WorkQueue, work};
use serde_json::Value;

use crate::context::Context;
use crate::expectations::Expectations;
use crate::fields::{is_deleting, list, map, text};
use crate::slice_steps;
use plan::MANAGER;

const NAME: &str = "endpointslice-controller";
const WORKERS: usize = 5;

struct Controller {
    client: Client,
    services: Cache,
    pods: Cache,
    nodes: Cache,
    slices: Cache,
    expectations: Arc<Expectations>,
}

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let of = |resource| context.caches.of(resource);
    let controller = Arc::new(Controller {
        client: context.client_of(NAME)?,
        services: of(&Resource::SERVICES),
        pods: of(&Resource::PODS),
        nodes: of(&Resource::NODES),
        slices: of(&Resource::ENDPOINT_SLICES),
        expectations: Arc::default(),
    });
    for cache in [&controller.services, &controller.pods, &controller.nodes, &controller.slices] {
        cache.synced().await;
    }
    let (queue, by_node) = (WorkQueue::new(), Index::of(&controller.slices, nodes_of));
    let adding = queue.clone();
    controller.services.subscribe(move |change| adding.add(change.key.clone()));
    let (adding, services) = (queue.clone(), controller.services.clone());
    controller.pods.subscribe(move |change| pod_changed(&change, &services, &adding));
    let (adding, expectations) = (queue.clone(), controller.expectations.clone());
    controller.slices.subscribe(move |change| slice_changed(&change, &expectations, &adding));
    let (adding, slices) = (queue.clone(), controller.slices.clone());
    controller.nodes.subscribe(move |change| node_changed(&change, &by_node, &slices, &adding));
    work(NAME, queue, WORKERS, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
    Ok(())
}

fn selects(service: &Value, pod: &Object) -> bool {
    let selector = map(service, "/spec/selector").filter(|selector| !selector.is_empty());
    let labels = pod.meta().labels();
    selector.is_some_and(|selector| {
        labels.is_some_and(|labels| LabelSelector::from_map(selector).matches(labels))
    })
}

fn pod_changed(change: &Change<'_>, services: &Cache, queue: &WorkQueue<Key>) {
    for service in services.list(&change.key.namespace) {
        let pods = [change.before, change.after];
        if pods.into_iter().flatten().any(|pod| selects(service.value(), pod)) {
            queue.add(service.key.clone());
        }
    }
}

fn slice_changed(change: &Change<'_>, expectations: &Expectations, queue: &WorkQueue<Key>) {
    let Some(slice) = change.object() else { return };
    let Some(service) = plan::service_of(slice.value()) else { return };
    let key = Key::new(change.key.namespace.clone(), service);
    match (change.before, change.after) {
        (None, Some(_)) => expectations.created(&key),
        (Some(gone), None) => expectations.deleted(&key, &gone.uid),
        _ => {}
    }
    queue.add(key);
}

/// A node's zone came or changed: slices with endpoints there say another one.
fn node_changed(change: &Change<'_>, by_node: &Index, slices: &Cache, queue: &WorkQueue<Key>) {
    let Some(after) = change.after else { return };
    let zone = zone(after);
    if change.before.is_some_and(|before| self::zone(before) == zone) {
        return;
    }
    for slice in by_node.at(&change.key.name).iter().filter_map(|key| slices.get(key)) {
        if says_another(slice.value(), &change.key.name, zone)
            && let Some(service) = plan::service_of(slice.value())
        {
            queue.add(Key::new(slice.key.namespace.clone(), service));
        }
    }
}

fn zone(node: &Object) -> Option<&str> {
    node.meta().label("topology.kubernetes.io/zone")
}

/// The nodes that a slice of ours is about: what a node's change is looked up by.
fn nodes_of(slice: &Object) -> BTreeSet<String> {
    if plan::service_of(slice.value()).is_none() {
        return BTreeSet::new();
    }
    let named = list(slice.value(), "/endpoints").iter().filter_map(|endpoint| endpoint["nodeName"].as_str());
    named.map(str::to_owned).collect()
}

fn says_another(slice: &Value, node: &str, zone: Option<&str>) -> bool {
    let there = list(slice, "/endpoints").iter().filter(|endpoint| endpoint["nodeName"] == node);
    there.map(|endpoint| endpoint["zone"].as_str()).any(|said| said != zone)
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, ClientError> {
        if !self.expectations.satisfied(key) {
            // The slice that is outstanding brings the key back.
            return Ok(Outcome::Done);
        }
        let Some(service) = self.services.get(key) else {
            // Its slices are owned by it: the garbage collector has them.
            self.expectations.forget(key);
            return Ok(Outcome::Done);
        };
        if map(service.value(), "/spec/selector").is_none_or(serde_json::Map::is_empty)
            || text(service.value(), "/spec/type") == "ExternalName"
            || is_deleting(service.value())
        {
            return Ok(Outcome::Done);
        }
        let pods = self.pods.list(&key.namespace);
        let pods: Vec<&Value> =
            pods.iter().filter(|pod| selects(service.value(), pod)).map(|pod| pod.value()).collect();
        let zone = |node: &str| zone(&*self.nodes.get(&Key::new("", node))?).map(str::to_owned);
        let desired = endpoints::desired(service.value(), &pods, &zone);
        let slices = self.slices.list(&key.namespace);
        let is_ours = |slice: &&Arc<Object>| {
            plan::service_of(slice.value()) == Some(key.name.as_str())
                && slice.meta().label("endpointslice.kubernetes.io/managed-by") == Some(MANAGER)
        };
        let observed: Vec<Value> = slices.iter().filter(is_ours).map(|slice| slice.value().clone()).collect();
        let steps = plan::plan(service.value(), &desired, &observed);
        slice_steps::execute_all(&self.client, &self.expectations, key, steps).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn slices_that_say_another_zone() {
        let slice =
            json!({"endpoints": [{"nodeName": "a", "zone": "east"}, {"nodeName": "b"}, {"zone": "x"}]});
        let check = |node: &str, zone, expect| {
            assert_eq!(says_another(&slice, node, zone), expect, "{node} {zone:?}")
        };
        check("a", Some("east"), false);
        check("a", Some("west"), true);
        check("a", None, true);
        check("b", Some("east"), true);
        check("b", None, false);
        check("c", Some("east"), false);
        assert!(!says_another(&json!({"endpoints": null}), "a", None));
    }

    #[tokio::test]
    async fn a_node_concerns_the_slices_that_name_it() {
        let config = client::Config::of_server("https://127.0.0.1:1", Vec::new()).unwrap();
        let client = Client::new(config, "test", client::Surroundings::system()).unwrap();
        let slice = |name: &str, nodes: &[&str]| {
            let endpoints: Vec<Value> = nodes.iter().map(|node| json!({"nodeName": node})).collect();
            let labels = json!({"kubernetes.io/service-name": name});
            let meta = json!({"namespace": "n", "name": name, "labels": labels});
            Object::of(&Resource::ENDPOINT_SLICES, json!({"metadata": meta, "endpoints": endpoints}))
        };
        let all = vec![slice("both", &["a", "b"]), slice("other", &["b", "b"]), slice("none", &[])];
        let slices = Cache::fixed(client, Resource::ENDPOINT_SLICES, all);
        let (by_node, queue) = (Index::of(&slices, nodes_of), WorkQueue::new());
        let labels = json!({"topology.kubernetes.io/zone": "west"});
        let node = json!({"metadata": {"name": "a", "labels": labels}});
        let (key, node) = (Key::new("", "a"), Arc::new(Object::of(&Resource::NODES, node)));
        let change = Change { key: &key, before: None, after: Some(&node) };
        node_changed(&change, &by_node, &slices, &queue);
        assert_eq!((queue.next().await, queue.len()), (Some(Key::new("n", "both")), 0));
        assert_eq!(by_node.at("b").len(), 2);
    }
}

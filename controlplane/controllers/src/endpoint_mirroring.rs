//! EndpointSlice mirroring: Endpoints that somebody else writes for a Service without a selector become slices too.
//!
//! Not Endpoints of Services with a selector, those that are labelled not to be mirrored, and those of leader elections.
//!
//! Reference: upstream's pkg/controller/endpointslicemirroring.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::meta::Meta;
use client::{Cache, Client, ClientError, Key, Object, Outcome, Resource, WorkQueue, work};
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::expectations::Expectations;
use crate::fields::{controller_reference, list, map, text};
use crate::slice_steps::{self, Step};

const NAME: &str = "endpointslicemirroring-controller";
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const SERVICE: &str = "kubernetes.io/service-name";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Made by the controller for Services with a selector.
const ENDPOINTS_MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// Addresses that are mirrored of one subset, and endpoints in one slice.
const MOST: usize = 1000;
const IN_SLICE: usize = 100;

struct Controller {
    client: Client,
    services: Cache,
    endpoints: Cache,
    slices: Cache,
    expectations: Arc<Expectations>,
}

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let controller = Arc::new(Controller {
        client: context.client_of(NAME)?,
        services: context.caches.of(&Resource::SERVICES),
        endpoints: context.caches.of(&Resource::ENDPOINTS),
        slices: context.caches.of(&Resource::ENDPOINT_SLICES),
        expectations: Arc::default(),
    });
    for cache in [&controller.services, &controller.endpoints, &controller.slices] {
        cache.synced().await;
    }
    let queue = WorkQueue::new();
    for cache in [&controller.services, &controller.endpoints] {
        let adding = queue.clone();
        cache.subscribe(move |change| adding.add(change.key.clone()));
    }
    let (adding, expectations) = (queue.clone(), controller.expectations.clone());
    controller.slices.subscribe(move |change| {
        let Some(slice) = change.object().filter(|slice| slice.meta().label(MANAGED_BY) == Some(MANAGER))
        else {
            return;
        };
        let Some(service) = slice.meta().label(SERVICE) else { return };
        let key = Key::new(change.key.namespace.clone(), service);
        match (change.before, change.after) {
            (None, Some(_)) => expectations.created(&key),
            (Some(gone), None) => expectations.deleted(&key, &gone.uid),
            _ => {}
        }
        adding.add(key);
    });
    work(NAME, queue, 5, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
    Ok(())
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, ClientError> {
        if !self.expectations.satisfied(key) {
            return Ok(Outcome::Done);
        }
        let own = |slice: &Arc<Object>| {
            let meta = slice.meta();
            meta.label(MANAGED_BY) == Some(MANAGER) && meta.label(SERVICE) == Some(&key.name)
        };
        let slices: Vec<Arc<Object>> = self.slices.list(&key.namespace).into_iter().filter(own).collect();
        let service = self.services.get(key);
        let endpoints = self.endpoints.get(key).filter(|endpoints| {
            let chosen =
                |service: &Arc<Object>| map(service.value(), "/spec/selector").is_some_and(|s| !s.is_empty());
            service.as_ref().is_some_and(|service| !chosen(service)) && is_mirrored(endpoints.value())
        });
        if endpoints.is_none() && slices.is_empty() {
            self.expectations.forget(key);
            return Ok(Outcome::Done);
        }
        let wanted = endpoints.as_ref().map(|endpoints| desired(endpoints.value())).unwrap_or_default();
        slice_steps::execute_all(&self.client, &self.expectations, key, plan(wanted, &slices)).await
    }
}

fn is_mirrored(endpoints: &Value) -> bool {
    let meta = Meta::of(endpoints);
    meta.label(SKIP) != Some("true")
        && meta.label(ENDPOINTS_MANAGED_BY).is_none()
        && endpoints["metadata"]["annotations"].get(LEADER).is_none()
}

/// The slices that Endpoints ask for, without names.
fn desired(endpoints: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    for subset in list(endpoints, "/subsets") {
        let mut families: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for (field, ready) in [("/addresses", true), ("/notReadyAddresses", false)] {
            for address in list(subset, field).iter().take(MOST) {
                let family = if text(address, "/ip").contains(':') { "IPv6" } else { "IPv4" };
                families.entry(family).or_default().push(endpoint(address, ready));
            }
        }
        for (family, addresses) in families {
            for part in addresses.chunks(IN_SLICE) {
                all.push(slice(endpoints, family, &subset["ports"], part));
            }
        }
    }
    all
}

fn endpoint(address: &Value, ready: bool) -> Value {
    let mut out = json!({"addresses": [address["ip"]], "conditions": {"ready": ready}});
    for name in ["hostname", "targetRef", "nodeName"] {
        if let Some(value) = address.get(name) {
            out[name] = value.clone();
        }
    }
    out
}

fn slice(endpoints: &Value, family: &str, ports: &Value, addresses: &[Value]) -> Value {
    let meta = Meta::of(endpoints);
    let mut labels = map(endpoints, "/metadata/labels").cloned().unwrap_or_default();
    labels.insert(SERVICE.into(), meta.name().into());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    let mut annotations = map(endpoints, "/metadata/annotations").cloned().unwrap_or_default();
    annotations.retain(|name, _| !name.starts_with("kubectl.kubernetes.io/"));
    let mut metadata = Map::new();
    metadata.insert("generateName".into(), format!("{}-", meta.name()).into());
    metadata.insert("namespace".into(), meta.namespace().into());
    metadata.insert("labels".into(), labels.into());
    if !annotations.is_empty() {
        metadata.insert("annotations".into(), annotations.into());
    }
    metadata.insert("ownerReferences".into(), json!([controller_reference(&Resource::ENDPOINTS, endpoints)]));
    let ports: Vec<Value> = list(ports, "")
        .iter()
        .map(|port| {
            let mut port = port.clone();
            if port.get("name").is_none() {
                port["name"] = "".into();
            }
            port
        })
        .collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": family,
        "endpoints": addresses, "ports": ports})
}

/// Turns the slices there are into those that are wanted, with as few writes as possible.
fn plan(mut wanted: Vec<Value>, slices: &[Arc<Object>]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut left: Vec<&Arc<Object>> = Vec::new();
    let same = |wanted: &Value, there: &Value| {
        ["addressType", "endpoints"].iter().all(|field| wanted[*field] == there[*field])
            && list(wanted, "/ports") == list(there, "/ports")
            && ["labels", "annotations"]
                .iter()
                .all(|field| wanted["metadata"][*field] == there["metadata"][*field])
    };
    for slice in slices {
        match wanted.iter().position(|wanted| same(wanted, slice.value())) {
            Some(at) => drop(wanted.remove(at)),
            None => left.push(slice),
        }
    }
    for slice in left {
        let like = |wanted: &Value| wanted["addressType"] == slice.value()["addressType"];
        match wanted.iter().position(like) {
            Some(at) => {
                let wanted = wanted.remove(at);
                let mut fresh = slice.value().clone();
                for field in ["endpoints", "ports"] {
                    fresh[field] = wanted[field].clone();
                }
                for field in ["labels", "annotations"] {
                    match wanted["metadata"].get(field) {
                        Some(value) => fresh["metadata"][field] = value.clone(),
                        None => drop(fresh["metadata"].as_object_mut().map(|m| m.shift_remove(field))),
                    }
                }
                steps.push(Step::Update(fresh));
            }
            None => steps.push(Step::Delete { name: slice.key.name.clone(), uid: slice.uid.clone() }),
        }
    }
    steps.extend(wanted.into_iter().map(Step::Create));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(ips: &[&str]) -> Value {
        let addresses: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        json!({"metadata": {"name": "s", "namespace": "n", "uid": "E", "labels": {"a": "b"}},
            "subsets": [{"addresses": addresses, "ports": [{"port": 80, "protocol": "TCP"}]}]})
    }

    #[test]
    fn endpoints_become_slices() {
        let wanted = desired(&endpoints(&["10.0.0.1", "fd00::1"]));
        let families: Vec<&str> = wanted.iter().map(|slice| text(slice, "/addressType")).collect();
        assert_eq!(families, ["IPv4", "IPv6"]);
        assert_eq!(
            wanted[0]["endpoints"],
            json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}])
        );
        assert_eq!(wanted[0]["ports"], json!([{"port": 80, "protocol": "TCP", "name": ""}]));
        let there: Vec<_> = wanted
            .iter()
            .map(|slice| Arc::new(Object::of(&Resource::ENDPOINT_SLICES, slice.clone())))
            .collect();
        assert_eq!(plan(wanted, &there), []);
        let fewer = plan(desired(&endpoints(&["10.0.0.2"])), &there);
        assert!(matches!(fewer.as_slice(), [Step::Update(_), Step::Delete { .. }]), "{fewer:?}");
        assert!(matches!(plan(vec![], &there).as_slice(), [Step::Delete { .. }, Step::Delete { .. }]));
    }

    #[test]
    fn some_are_left_alone() {
        assert!(is_mirrored(&endpoints(&[])));
        for (field, value) in [
            ("labels", json!({SKIP: "true"})),
            ("labels", json!({ENDPOINTS_MANAGED_BY: "x"})),
            ("annotations", json!({LEADER: "x"})),
        ] {
            let mut odd = endpoints(&[]);
            odd["metadata"][field] = value;
            assert!(!is_mirrored(&odd));
        }
    }
}

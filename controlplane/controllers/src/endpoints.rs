//! Endpoints: the older, single object behind every Service that selects pods.
//!
//! Made from the same pods as the slices, of the Service's first family only, at most a thousand addresses.
//!
//! Reference: upstream's pkg/controller/endpoint.

use std::sync::Arc;

use api::meta::Meta;
use api::selector::LabelSelector;
use client::{Cache, Change, Client, ClientError, Key, Object, Outcome, Resource, WorkQueue, work};
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::endpointslice::endpoints::{Group, desired};
use crate::fields::{list, map, text};

const NAME: &str = "endpoint-controller";
const WORKERS: usize = 5;
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const HEADLESS: &str = "service.kubernetes.io/headless";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Addresses in one object.
const MOST: usize = 1000;

struct Controller {
    client: Client,
    services: Cache,
    pods: Cache,
    endpoints: Cache,
}

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let controller = Arc::new(Controller {
        client: context.client_of(NAME)?,
        services: context.caches.of(&Resource::SERVICES),
        pods: context.caches.of(&Resource::PODS),
        endpoints: context.caches.of(&Resource::ENDPOINTS),
    });
    for cache in [&controller.services, &controller.pods, &controller.endpoints] {
        cache.synced().await;
    }
    let queue = WorkQueue::new();
    let adding = queue.clone();
    controller.services.subscribe(move |change| adding.add(change.key.clone()));
    let (adding, services) = (queue.clone(), controller.services.clone());
    controller.pods.subscribe(move |change| pod_changed(&change, &services, &adding));
    let adding = queue.clone();
    controller.endpoints.subscribe(move |change| adding.add(change.key.clone()));
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
        if [change.before, change.after].into_iter().flatten().any(|pod| selects(service.value(), pod)) {
            queue.add(service.key.clone());
        }
    }
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, ClientError> {
        let there = self.endpoints.get(key);
        let Some(service) = self.services.get(key) else {
            // Nobody else's are touched: only those that this controller has made.
            let ours = there.filter(|there| there.meta().label(MANAGED_BY) == Some(NAME));
            let Some(ours) = ours else { return Ok(Outcome::Done) };
            let gone = self
                .client
                .delete(&Resource::ENDPOINTS, &key.namespace, &key.name, Some(&ours.uid), None)
                .await;
            return settled(gone.map(drop));
        };
        if map(service.value(), "/spec/selector").is_none_or(Map::is_empty) {
            return Ok(Outcome::Done);
        }
        let pods = self.pods.list(&key.namespace);
        let pods: Vec<&Value> =
            pods.iter().filter(|pod| selects(service.value(), pod)).map(|pod| pod.value()).collect();
        let groups = desired(service.value(), &pods, &|_| None);
        let Some(step) = plan(service.value(), &groups, there.as_ref().map(|there| there.value())) else {
            return Ok(Outcome::Done);
        };
        let answer = match step {
            Step::Create(object) => self.client.create(&Resource::ENDPOINTS, &key.namespace, &object).await,
            Step::Update(object) => self.client.update(&Resource::ENDPOINTS, &object).await,
        };
        settled(answer.map(drop))
    }
}

fn settled(answer: Result<(), ClientError>) -> Result<Outcome, ClientError> {
    match answer {
        Err(error) if error.namespace_is_terminating() => Ok(Outcome::Done),
        Err(error) if error.is_conflict() || error.is_not_found() || error.already_exists() => {
            Ok(Outcome::Again)
        }
        answer => answer.map(|()| Outcome::Done),
    }
}

#[derive(Debug, PartialEq)]
enum Step {
    Create(Value),
    Update(Value),
}

fn plan(service: &Value, groups: &[Group], there: Option<&Value>) -> Option<Step> {
    let family = service["spec"]["ipFamilies"][0].as_str().unwrap_or("IPv4");
    let (subsets, cut) = subsets(service, groups.iter().filter(|group| group.family == family));
    let labels = labels(service);
    let mut annotations =
        there.and_then(|there| map(there, "/metadata/annotations")).cloned().unwrap_or_default();
    if cut {
        annotations.insert(OVER_CAPACITY.into(), "truncated".into());
    } else {
        annotations.shift_remove(OVER_CAPACITY);
    }
    let Some(there) = there else {
        let meta = Meta::of(service);
        let mut metadata = json!({"name": meta.name(), "namespace": meta.namespace(), "labels": labels});
        if !annotations.is_empty() {
            metadata["annotations"] = annotations.into();
        }
        return Some(Step::Create(
            json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}),
        ));
    };
    let same = list(there, "/subsets") == subsets.as_slice()
        && map(there, "/metadata/labels") == Some(&labels)
        && map(there, "/metadata/annotations").cloned().unwrap_or_default() == annotations;
    if same {
        return None;
    }
    let mut fresh = there.clone();
    fresh["subsets"] = subsets.into();
    fresh["metadata"]["labels"] = labels.into();
    if annotations.is_empty() {
        fresh["metadata"].as_object_mut().map(|metadata| metadata.shift_remove("annotations"));
    } else {
        fresh["metadata"]["annotations"] = annotations.into();
    }
    Some(Step::Update(fresh))
}

fn labels(service: &Value) -> Map<String, Value> {
    let mut labels = map(service, "/metadata/labels").cloned().unwrap_or_default();
    if text(service, "/spec/clusterIP") == "None" {
        labels.insert(HEADLESS.into(), "".into());
    } else {
        labels.shift_remove(HEADLESS);
    }
    labels.insert(MANAGED_BY.into(), NAME.into());
    labels
}

/// One subset per group of equal ports; the ready addresses apart from the others.
fn subsets<'a>(service: &Value, groups: impl Iterator<Item = &'a Group>) -> (Vec<Value>, bool) {
    let anyway = service["spec"]["publishNotReadyAddresses"] == true;
    let (mut left, mut cut, mut all) = (MOST, false, Vec::new());
    for group in groups {
        let (mut ready, mut others) = (Vec::new(), Vec::new());
        for endpoint in &group.endpoints {
            if endpoint["conditions"]["terminating"] == true && !anyway {
                continue;
            }
            if left == 0 {
                cut = true;
                break;
            }
            left -= 1;
            let list = if endpoint["conditions"]["ready"] == true { &mut ready } else { &mut others };
            list.push(address(endpoint));
        }
        if ready.is_empty() && others.is_empty() {
            continue;
        }
        let by_ip = |a: &Value, b: &Value| a["ip"].as_str().cmp(&b["ip"].as_str());
        ready.sort_by(by_ip);
        others.sort_by(by_ip);
        let mut subset = Map::new();
        for (name, addresses) in [("addresses", ready), ("notReadyAddresses", others)] {
            if !addresses.is_empty() {
                subset.insert(name.into(), addresses.into());
            }
        }
        let ports: Vec<Value> = list(&group.ports, "").iter().map(port).collect();
        if !ports.is_empty() {
            subset.insert("ports".into(), ports.into());
        }
        all.push(Value::Object(subset));
    }
    (all, cut)
}

fn address(endpoint: &Value) -> Value {
    let mut address = Map::new();
    address.insert("ip".into(), endpoint["addresses"][0].clone());
    for name in ["hostname", "nodeName", "targetRef"] {
        if let Some(value) = endpoint.get(name) {
            address.insert(name.into(), value.clone());
        }
    }
    Value::Object(address)
}

fn port(port: &Value) -> Value {
    let mut out = Map::new();
    for name in ["name", "port", "protocol", "appProtocol"] {
        if let Some(value) = port.get(name).filter(|value| *value != "") {
            out.insert(name.into(), value.clone());
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Value {
        json!({"metadata": {"name": "s", "namespace": "n", "labels": {"a": "b"}}, "spec": {"ipFamilies": ["IPv4"],
            "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]}})
    }

    fn group() -> Group {
        let endpoint = |ip: &str, ready: bool, terminating: bool| json!({"addresses": [ip], "nodeName": "x", "conditions": {"ready": ready, "terminating": terminating}});
        Group {
            family: "IPv4".into(),
            ports: json!([{"name": "", "port": 8080, "protocol": "TCP"}]),
            endpoints: vec![
                endpoint("10.0.0.2", true, false),
                endpoint("10.0.0.1", true, false),
                endpoint("10.0.0.3", false, false),
                endpoint("10.0.0.4", false, true),
            ],
        }
    }

    #[test]
    fn ready_and_others() {
        let Some(Step::Create(made)) = plan(&service(), &[group()], None) else { panic!("nothing is made") };
        assert_eq!(
            made["subsets"],
            json!([{"addresses": [{"ip": "10.0.0.1", "nodeName": "x"}, {"ip": "10.0.0.2", "nodeName": "x"}],
                "notReadyAddresses": [{"ip": "10.0.0.3", "nodeName": "x"}], "ports": [{"port": 8080, "protocol": "TCP"}]}])
        );
        assert_eq!(made["metadata"]["labels"], json!({"a": "b", MANAGED_BY: NAME}));
        assert_eq!(plan(&service(), &[group()], Some(&made)), None);
        let Some(Step::Update(emptied)) = plan(&service(), &[], Some(&made)) else {
            panic!("nothing changes")
        };
        assert_eq!(emptied["subsets"], json!([]));
    }
}

//! The ConfigMap `kube-root-ca.crt` of every namespace: whom pods may trust to be the API.

use std::sync::Arc;

use client::{ClientError, Key, Outcome, Resource, WorkQueue, work};
use serde_json::{Value, json};

use crate::context::Context;
use crate::fields::text;

const NAME: &str = "root-ca-cert-publisher";
const CONFIG_MAP: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
     endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
     distributions of Kubernetes clusters.";

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let client = context.client_of(NAME)?;
    let namespaces = context.caches.of(&Resource::NAMESPACES);
    let maps = context.caches.of(&Resource::CONFIG_MAPS);
    namespaces.synced().await;
    maps.synced().await;
    let queue = WorkQueue::new();
    let adding = queue.clone();
    namespaces.subscribe(move |change| adding.add(change.key.clone()));
    let adding = queue.clone();
    maps.subscribe(move |change| {
        if change.key.name == CONFIG_MAP {
            adding.add(Key::new("", change.key.namespace.clone()));
        }
    });
    work(NAME, queue, 1, move |key: Key| {
        let (client, namespaces, maps, context) =
            (client.clone(), namespaces.clone(), maps.clone(), context.clone());
        async move {
            let active =
                namespaces.get(&key).is_some_and(|ns| text(ns.value(), "/status/phase") != "Terminating");
            let there = maps.get(&Key::new(key.name.clone(), CONFIG_MAP));
            let Some((step, map)) =
                plan(&key.name, active, there.as_ref().map(|map| map.value()), &context.root_ca)
            else {
                return Ok(Outcome::Done);
            };
            let answer = match step {
                Step::Create => client.create(&Resource::CONFIG_MAPS, &key.name, &map).await,
                Step::Update => client.update(&Resource::CONFIG_MAPS, &map).await,
            };
            match answer {
                Err(error) if error.already_exists() || error.namespace_is_terminating() => Ok(Outcome::Done),
                Err(error) if error.is_conflict() || error.is_not_found() => Ok(Outcome::Again),
                answer => answer.map(|_| Outcome::Done),
            }
        }
    })
    .await;
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Create,
    Update,
}

fn plan(namespace: &str, active: bool, there: Option<&Value>, root_ca: &str) -> Option<(Step, Value)> {
    if !active {
        return None;
    }
    let data = json!({"ca.crt": root_ca});
    let annotations = json!({"kubernetes.io/description": DESCRIPTION});
    match there {
        None => {
            let metadata = json!({"name": CONFIG_MAP, "namespace": namespace, "annotations": annotations});
            Some((
                Step::Create,
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}),
            ))
        }
        Some(there) if there["data"] == data => None,
        Some(there) => {
            let mut map = there.clone();
            map["data"] = data;
            map["metadata"]["annotations"] = annotations;
            Some((Step::Update, map))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans() {
        let steps =
            |active, there: Option<Value>| plan("n", active, there.as_ref(), "CA").map(|(step, _)| step);
        assert_eq!(steps(true, None), Some(Step::Create));
        assert_eq!(steps(false, None), None);
        assert_eq!(steps(true, Some(json!({"metadata": {}, "data": {"ca.crt": "CA"}}))), None);
        assert_eq!(steps(true, Some(json!({"metadata": {}, "data": {"ca.crt": "old"}}))), Some(Step::Update));
    }
}

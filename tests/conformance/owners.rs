//! Garbage: what becomes of objects when an owner goes.

use serde_json::{Value, json};

use super::Behaviour;
use super::cluster::{Cluster, path, template};

pub(super) const ALL: &[Behaviour] = &[
    ("pods of an owner go in the background", background),
    ("pods of an owner that is orphaned stay", orphans),
    ("an owner waits for its pods in the foreground", foreground),
    ("a dependent with another living owner stays", two_owners),
    ("a circle of owners blocks nobody", circle),
    ("the ReplicaSet of a Deployment goes with it, unless it is orphaned", deployments),
    ("a dependent of one that waits and one that lives stays", one_waits),
];

/// A ReplicationController with two pods.
fn owner(cluster: &Cluster, namespace: &str) -> String {
    let all = path("v1", namespace, "replicationcontrollers");
    cluster.create(
        &all,
        &json!({"metadata": {"name": "o"}, "spec": {"replicas": 2, "template": template("o")}}),
    );
    cluster.until("its pods", || cluster.items(&path("v1", namespace, "pods")).len() == 2);
    format!("{all}/o")
}

fn background(cluster: &Cluster, namespace: &str) {
    let one = owner(cluster, namespace);
    cluster.delete(&format!("{one}?propagationPolicy=Background"));
    assert!(cluster.is_gone(&one));
    cluster.until("its pods' end", || cluster.items(&path("v1", namespace, "pods")).is_empty());
}

fn orphans(cluster: &Cluster, namespace: &str) {
    let one = owner(cluster, namespace);
    cluster.delete(&format!("{one}?propagationPolicy=Orphan"));
    cluster.until("its end", || cluster.is_gone(&one));
    let pods = cluster.items(&path("v1", namespace, "pods"));
    assert_eq!(pods.len(), 2);
    assert!(pods.iter().all(|pod| pod["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty)));
}

fn foreground(cluster: &Cluster, namespace: &str) {
    let one = owner(cluster, namespace);
    let pods = path("v1", namespace, "pods");
    let name = cluster.items(&pods)[0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let hold = json!({"metadata": {"finalizers": ["example.test/hold"]}});
    cluster.merge(&format!("{pods}/{name}"), &hold);
    cluster.delete(&format!("{one}?propagationPolicy=Foreground"));
    cluster.until("one pod's end", || cluster.items(&pods).len() == 1);
    assert!(!cluster.is_gone(&one), "it waits for its last pod");
    cluster.merge(&format!("{pods}/{name}"), &json!({"metadata": {"finalizers": null}}));
    cluster.until("the end of all", || cluster.is_gone(&one) && cluster.items(&pods).is_empty());
}

fn config_map(cluster: &Cluster, namespace: &str, name: &str) -> Value {
    let made = cluster.create(&path("v1", namespace, "configmaps"), &json!({"metadata": {"name": name}}));
    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": made["metadata"]["uid"]})
}

fn two_owners(cluster: &Cluster, namespace: &str) {
    let all = path("v1", namespace, "configmaps");
    let (one, other) = (config_map(cluster, namespace, "one"), config_map(cluster, namespace, "other"));
    config_map(cluster, namespace, "child");
    cluster.merge(&format!("{all}/child"), &json!({"metadata": {"ownerReferences": [one, other]}}));
    cluster.delete(&format!("{all}/one"));
    cluster.until_shows("one owner less", &format!("{all}/child"), |child| {
        child["metadata"]["ownerReferences"].as_array().is_some_and(|owners| owners.len() == 1)
    });
    cluster.delete(&format!("{all}/other"));
    cluster.until("its end", || cluster.is_gone(&format!("{all}/child")));
}

fn circle(cluster: &Cluster, namespace: &str) {
    let all = path("v1", namespace, "configmaps");
    let names = ["a", "b", "c"];
    let references = names.map(|name| config_map(cluster, namespace, name));
    for (at, name) in names.iter().enumerate() {
        let mut owner = references[(at + 1) % names.len()].clone();
        owner["blockOwnerDeletion"] = true.into();
        cluster.merge(&format!("{all}/{name}"), &json!({"metadata": {"ownerReferences": [owner]}}));
    }
    cluster.delete(&format!("{all}/a?propagationPolicy=Foreground"));
    cluster.until("the end of all", || names.iter().all(|name| cluster.is_gone(&format!("{all}/{name}"))));
}

fn deployments(cluster: &Cluster, namespace: &str) {
    let (deployments, sets) =
        (path("apps/v1", namespace, "deployments"), path("apps/v1", namespace, "replicasets"));
    for (name, policy) in [("gone", "Background"), ("kept", "Orphan")] {
        let object = json!({"metadata": {"name": name}, "spec": {"replicas": 1,
            "selector": {"matchLabels": {"app": name}}, "template": template(name)}});
        cluster.create(&deployments, &object);
        let own = format!("{sets}?labelSelector=app%3D{name}");
        cluster.until("its ReplicaSet", || cluster.items(&own).len() == 1);
        cluster.delete(&format!("{deployments}/{name}?propagationPolicy={policy}"));
        cluster.until("its end", || cluster.is_gone(&format!("{deployments}/{name}")));
    }
    cluster.until("the end of the one that was not orphaned", || {
        let left = cluster.items(&sets);
        left.len() == 1 && left[0]["metadata"]["labels"]["app"] == "kept"
    });
    let owners = cluster.items(&sets)[0]["metadata"]["ownerReferences"].clone();
    assert!(owners.as_array().is_none_or(Vec::is_empty), "{owners}");
}

/// Two ReplicationControllers; pods of the first belong to the second too. The first is deleted in the foreground: it
/// waits for those pods alone that are nobody else's.
fn one_waits(cluster: &Cluster, namespace: &str) {
    let (controllers, pods) =
        (path("v1", namespace, "replicationcontrollers"), path("v1", namespace, "pods"));
    let controller = |name: &str, replicas: i64| json!({"metadata": {"name": name}, "spec": {"replicas": replicas, "template": template(name)}});
    cluster.create(&controllers, &controller("first", 4));
    let stays = cluster.create(&controllers, &controller("second", 0));
    let names = || -> Vec<String> {
        let items = cluster.items(&pods);
        items.iter().filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect()
    };
    cluster.until("its pods", || names().len() == 4);
    let shared = names().split_off(2);
    for name in &shared {
        let mut owners = cluster.get(&format!("{pods}/{name}"))["metadata"]["ownerReferences"].clone();
        owners
            .as_array_mut()
            .expect("owners")
            .push(json!({"apiVersion": "v1", "kind": "ReplicationController",
            "name": "second", "uid": stays["metadata"]["uid"]}));
        cluster.merge(&format!("{pods}/{name}"), &json!({"metadata": {"ownerReferences": owners}}));
    }
    cluster.delete(&format!("{controllers}/first?propagationPolicy=Foreground"));
    cluster.until("its end", || cluster.is_gone(&format!("{controllers}/first")));
    cluster.until("the end of its own pods", || names() == shared);
    for name in &shared {
        let pod = cluster.get(&format!("{pods}/{name}"));
        assert!(pod["metadata"]["deletionTimestamp"].is_null());
        let owners = pod["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        assert!(owners.len() == 1 && owners[0]["uid"] == stays["metadata"]["uid"], "{owners:?}");
    }
}

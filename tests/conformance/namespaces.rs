//! Namespaces, and what goes with their ends: cascades, finalizers, owners.

use serde_json::json;

use super::Behaviour;
use super::cluster::{Cluster, path, pod_spec, template};

pub(super) const ALL: &[Behaviour] = &[
    ("a namespace's pods go with it", |cluster, namespace| goes_with(cluster, namespace, "pods")),
    ("a namespace's Services go with it", |cluster, namespace| goes_with(cluster, namespace, "services")),
    ("a namespace is patched", patched),
    ("a namespace is updated", updated),
    ("a namespace's status is a part of its own", status),
    ("a finalizer of a namespace is put there and taken away", finalizer),
    ("pods of an owner go in the background", background),
    ("pods of an owner that is orphaned stay", orphans),
    ("an owner waits for its pods in the foreground", foreground),
    ("a dependent with another living owner stays", two_owners),
    ("a circle of owners blocks nobody", circle),
];

fn goes_with(cluster: &Cluster, namespace: &str, plural: &str) {
    let other = format!("{namespace}-other");
    cluster.make_namespace(&other);
    let object = match plural {
        "pods" => json!({"metadata": {"name": "x"}, "spec": pod_spec()}),
        _ => json!({"metadata": {"name": "x"}, "spec": {"ports": [{"port": 80}]}}),
    };
    cluster.create(&path("v1", &other, plural), &object);
    cluster.delete(&format!("/api/v1/namespaces/{other}"));
    cluster.until("its end", || cluster.is_gone(&format!("/api/v1/namespaces/{other}")));
    cluster.make_namespace(&other);
    assert!(cluster.items(&path("v1", &other, plural)).is_empty());
    cluster.delete(&format!("/api/v1/namespaces/{other}"));
}

fn patched(cluster: &Cluster, namespace: &str) {
    let one = format!("/api/v1/namespaces/{namespace}");
    cluster.admin.patch(&one, "strategic-merge", &json!({"metadata": {"labels": {"a": "b"}}})).expect(200);
    assert_eq!(cluster.get(&one)["metadata"]["labels"]["a"], "b");
}

fn updated(cluster: &Cluster, namespace: &str) {
    let one = format!("/api/v1/namespaces/{namespace}");
    let mut object = cluster.get(&one);
    object["metadata"]["labels"]["updated"] = namespace.into();
    assert_eq!(cluster.put(&one, &object)["metadata"]["labels"]["updated"], namespace);
}

fn status(cluster: &Cluster, namespace: &str) {
    let at = format!("/api/v1/namespaces/{namespace}/status");
    let condition = json!({"type": "Odd", "status": "True", "reason": "Told", "message": "m"});
    cluster
        .merge(&at, &json!({"metadata": {"annotations": {"a": "b"}}, "status": {"conditions": [condition]}}));
    let mut shown = cluster.get(&at);
    assert_eq!(shown["status"]["conditions"][0]["reason"], "Told");
    shown["status"]["conditions"][0]["reason"] = "Updated".into();
    assert_eq!(cluster.put(&at, &shown)["status"]["conditions"][0]["reason"], "Updated");
}

fn finalizer(cluster: &Cluster, namespace: &str) {
    let one = format!("/api/v1/namespaces/{namespace}");
    let mut object = cluster.get(&one);
    object["spec"]["finalizers"] = json!(["kubernetes", "example.test/more"]);
    let shown = cluster.put(&format!("{one}/finalize"), &object);
    assert_eq!(shown["spec"]["finalizers"].as_array().map(Vec::len), Some(2));
    let mut back = shown;
    back["spec"]["finalizers"] = json!(["kubernetes"]);
    assert_eq!(cluster.put(&format!("{one}/finalize"), &back)["spec"]["finalizers"], json!(["kubernetes"]));
}

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

fn config_map(cluster: &Cluster, namespace: &str, name: &str) -> serde_json::Value {
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

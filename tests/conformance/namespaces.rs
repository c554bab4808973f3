//! Namespaces: what goes with their ends, their finalizers and status.

use serde_json::json;

use super::Behaviour;
use super::cluster::{Cluster, path, pod_spec};

pub(super) const ALL: &[Behaviour] = &[
    ("a namespace's pods go with it", |cluster, namespace| goes_with(cluster, namespace, "pods")),
    ("a namespace's Services go with it", |cluster, namespace| goes_with(cluster, namespace, "services")),
    ("a namespace is patched", patched),
    ("a namespace is updated", updated),
    ("a namespace's status is a part of its own", status),
    ("a namespace that cannot end says what holds it", held),
    ("a finalizer of a namespace is put there and taken away", finalizer),
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

fn held(cluster: &Cluster, namespace: &str) {
    let other = format!("{namespace}-held");
    cluster.make_namespace(&other);
    let (one, maps) = (format!("/api/v1/namespaces/{other}"), path("v1", &other, "configmaps"));
    cluster.create(&maps, &json!({"metadata": {"name": "m", "finalizers": ["example.test/hold"]}}));
    cluster.delete(&one);
    let message = |kind: &str| {
        let shown = cluster.get(&one);
        let conditions = shown["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|one| one["type"] == kind && one["status"] == "True");
        found.map(|one| one["message"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
    };
    cluster.until("who holds it", || {
        message("NamespaceFinalizersRemaining").contains("example.test/hold in 1 resource instances")
    });
    assert!(message("NamespaceContentRemaining").contains("configmaps. has 1 resource instances"));
    let refused = cluster.admin.post(&maps, &json!({"metadata": {"name": "n"}}));
    let why = "configmaps \\\"n\\\" is forbidden: unable to create new content in namespace";
    assert!(refused.code == 403 && refused.text().contains(why), "{}", refused.text());
    cluster.merge(&format!("{maps}/m"), &json!({"metadata": {"finalizers": null}}));
    cluster.until("its end", || cluster.is_gone(&one));
}

//! ConfigMaps, Secrets, ServiceAccounts and nodes.

use serde_json::{Value, json};

use super::Behaviour;
use super::cluster::{Cluster, path};

pub(super) const ALL: &[Behaviour] = &[
    ("an empty key is refused in a ConfigMap", |cluster, namespace| {
        empty_key(cluster, namespace, "configmaps")
    }),
    ("an empty key is refused in a Secret", |cluster, namespace| empty_key(cluster, namespace, "secrets")),
    ("an immutable ConfigMap stays as it is", |cluster, namespace| {
        immutable(cluster, namespace, "configmaps", "one")
    }),
    ("an immutable Secret stays as it is", |cluster, namespace| {
        immutable(cluster, namespace, "secrets", "b25l")
    }),
    ("a ConfigMap is updated", config_map_update),
    ("a Secret is patched and found by its label everywhere", secret_patch),
    ("every namespace has the root certificate, and gets it back", root_certificate),
    ("a ServiceAccount is updated", account_update),
    ("a token of a ServiceAccount is made and recognised", token),
    ("a node lives", node),
];

fn empty_key(cluster: &Cluster, namespace: &str, plural: &str) {
    let object = json!({"metadata": {"name": "empty"}, "data": {"": "dmFsdWU="}});
    assert_eq!(cluster.admin.post(&path("v1", namespace, plural), &object).code, 422);
}

fn immutable(cluster: &Cluster, namespace: &str, plural: &str, value: &str) {
    let all = path("v1", namespace, plural);
    let one = format!("{all}/fixed");
    let mut object = cluster.create(&all, &json!({"metadata": {"name": "fixed"}, "data": {"a": value}}));
    object["data"]["b"] = value.into();
    let mut fixed = cluster.put(&one, &object);
    fixed["immutable"] = true.into();
    let fixed = cluster.put(&one, &fixed);
    for (field, change) in
        [("data", json!({"a": "dHdv"})), ("immutable", json!(false)), ("immutable", Value::Null)]
    {
        let mut changed = fixed.clone();
        changed[field] = change;
        let answer = cluster.admin.put(&one, &changed);
        assert_eq!(answer.code, 422, "{}", answer.text());
    }
    // What is no data may still change.
    cluster.merge(&one, &json!({"metadata": {"labels": {"a": "b"}}}));
    cluster.delete(&one);
}

fn config_map_update(cluster: &Cluster, namespace: &str) {
    let all = path("v1", namespace, "configmaps");
    let mut map = cluster.create(&all, &json!({"metadata": {"name": "m"}, "data": {"a": "1"}}));
    map["data"] = json!({"b": "2"});
    cluster.put(&format!("{all}/m"), &map);
    assert_eq!(cluster.get(&format!("{all}/m"))["data"], json!({"b": "2"}));
    let late = cluster.admin.put(&format!("{all}/m"), &map);
    assert_eq!(late.code, 409, "an old version does not overwrite a newer one");
}

fn secret_patch(cluster: &Cluster, namespace: &str) {
    let all = path("v1", namespace, "secrets");
    cluster.create(&all, &json!({"metadata": {"name": "s"}, "data": {"key": "dmFsdWU="}, "type": "Opaque"}));
    let patch = json!({"metadata": {"labels": {"of": namespace}}, "data": {"key": "dmFsdWUx"}});
    cluster.admin.patch(&format!("{all}/s"), "strategic-merge", &patch).expect(200);
    let found = cluster.items(&format!("/api/v1/secrets?labelSelector=of%3D{namespace}"));
    assert_eq!(found[0]["data"]["key"], "dmFsdWUx");
    cluster.delete(&format!("{all}?labelSelector=of%3D{namespace}"));
    assert!(cluster.is_gone(&format!("{all}/s")));
}

fn root_certificate(cluster: &Cluster, namespace: &str) {
    let one = format!("{}/kube-root-ca.crt", path("v1", namespace, "configmaps"));
    let whole =
        |map: &Value| map["data"]["ca.crt"].as_str().is_some_and(|text| text.contains("BEGIN CERTIFICATE"));
    cluster.until_shows("the certificate", &one, whole);
    cluster.delete(&one);
    cluster.until_shows("the certificate again", &one, whole);
    cluster.merge(&one, &json!({"data": {"ca.crt": "broken"}}));
    cluster.until_shows("the certificate mended", &one, whole);
}

fn account_update(cluster: &Cluster, namespace: &str) {
    let all = path("v1", namespace, "serviceaccounts");
    let mut account =
        cluster.create(&all, &json!({"metadata": {"name": "a"}, "automountServiceAccountToken": false}));
    account["automountServiceAccountToken"] = true.into();
    assert_eq!(cluster.put(&format!("{all}/a"), &account)["automountServiceAccountToken"], true);
}

fn token(cluster: &Cluster, namespace: &str) {
    let all = path("v1", namespace, "serviceaccounts");
    cluster.create(&all, &json!({"metadata": {"name": "a"}}));
    let asked = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}});
    let made = cluster.admin.post(&format!("{all}/a/token"), &asked).expect(201);
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": made["status"]["token"]}});
    let answer = cluster.create("/apis/authentication.k8s.io/v1/tokenreviews", &review);
    assert_eq!(answer["status"]["authenticated"], true);
    assert_eq!(answer["status"]["user"]["username"], format!("system:serviceaccount:{namespace}:a"));
}

fn node(cluster: &Cluster, namespace: &str) {
    let one = format!("/api/v1/nodes/{namespace}");
    cluster.create("/api/v1/nodes", &json!({"metadata": {"name": namespace}}));
    cluster
        .admin
        .patch(&one, "strategic-merge", &json!({"metadata": {"labels": {"of": namespace}}}))
        .expect(200);
    let patch = json!({"status": {"conditions": [{"type": "Odd", "status": "True", "reason": "Told", "message": "m"}]}});
    let shown = cluster.admin.patch(&format!("{one}/status"), "strategic-merge", &patch).expect(200);
    assert!(
        shown["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(|c| c["type"] == "Odd"))
    );
    assert_eq!(cluster.items(&format!("/api/v1/nodes?labelSelector=of%3D{namespace}")).len(), 1);
    cluster.delete(&format!("/api/v1/nodes?labelSelector=of%3D{namespace}"));
    assert!(cluster.is_gone(&one));
}

//! ResourceQuotas: promptly counted, taken from by admission, given back.

use serde_json::{Value, json};

use super::Behaviour;
use super::cluster::{Cluster, path, pod_spec, template};

pub(super) const ALL: &[Behaviour] = &[
    ("a quota's status is promptly calculated", promptly),
    ("a quota counts a Service and its ports", a_service),
    ("a quota counts a Secret", a_secret),
    ("a quota counts a ConfigMap", a_config_map),
    ("a quota counts a Pod and what it asks for, and refuses too much", a_pod),
    ("a quota counts a ReplicaSet", a_replica_set),
    ("a quota counts a ReplicationController", a_replication_controller),
    ("a quota of a scope counts pods of that scope only: terminating", terminating),
    ("a quota of a scope counts pods of that scope only: best effort", best_effort),
    ("a quota of a scope counts pods of that scope only: a priority class", of_class),
    ("a quota counts custom resources, and gives them back", custom),
    ("a quota can be changed and deleted", changed),
    ("a quota's status is a part of its own", status),
];

fn quotas(namespace: &str) -> String {
    path("v1", namespace, "resourcequotas")
}

fn make(cluster: &Cluster, namespace: &str, name: &str, spec: Value) {
    let wanted = spec["hard"].clone();
    cluster.create(&quotas(namespace), &json!({"metadata": {"name": name}, "spec": spec}));
    cluster.until_shows("the quota's status", &format!("{}/{name}", quotas(namespace)), |quota| {
        quota["status"]["hard"] == wanted
    });
}

/// Waits until so much is used.
#[track_caller]
fn uses(cluster: &Cluster, namespace: &str, name: &str, resource: &str, amount: &str) {
    let what = format!("{resource}={amount}");
    cluster.until_shows(&what, &format!("{}/{name}", quotas(namespace)), |quota| {
        quota["status"]["used"][resource] == amount
    });
}

fn promptly(cluster: &Cluster, namespace: &str) {
    make(cluster, namespace, "q", json!({"hard": {"pods": "5", "services": "3"}}));
    uses(cluster, namespace, "q", "pods", "0");
}

fn counted(
    cluster: &Cluster,
    namespace: &str,
    resource: &str,
    hard: &str,
    api: &str,
    plural: &str,
    object: &Value,
) {
    make(cluster, namespace, "q", json!({"hard": {resource: hard}}));
    let quota = cluster.get(&format!("{}/q", quotas(namespace)));
    let before: i64 =
        quota["status"]["used"][resource].as_str().and_then(|used| used.parse().ok()).unwrap_or(0);
    let collection = path(api, namespace, plural);
    let made = cluster.create(&collection, object);
    uses(cluster, namespace, "q", resource, &(before + 1).to_string());
    cluster.delete(&format!("{collection}/{}", made["metadata"]["name"].as_str().unwrap_or_default()));
    uses(cluster, namespace, "q", resource, &before.to_string());
}

fn a_service(cluster: &Cluster, namespace: &str) {
    let service = json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    counted(cluster, namespace, "services", "3", "v1", "services", &service);
    make(
        cluster,
        namespace,
        "ports",
        json!({"hard": {"services.nodeports": "1", "services.loadbalancers": "0"}}),
    );
    cluster.create(&path("v1", namespace, "services"), &service);
    uses(cluster, namespace, "ports", "services.nodeports", "1");
    let balancer =
        json!({"metadata": {"name": "b"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
    assert_eq!(cluster.admin.post(&path("v1", namespace, "services"), &balancer).code, 403);
}

fn a_secret(cluster: &Cluster, namespace: &str) {
    counted(cluster, namespace, "secrets", "9", "v1", "secrets", &json!({"metadata": {"name": "s"}}));
}

fn a_config_map(cluster: &Cluster, namespace: &str) {
    cluster.until("the root certificate", || cluster.items(&path("v1", namespace, "configmaps")).len() == 1);
    counted(cluster, namespace, "configmaps", "9", "v1", "configmaps", &json!({"metadata": {"name": "s"}}));
}

fn pod(name: &str, cpu: &str) -> Value {
    let mut pod = json!({"metadata": {"name": name}, "spec": pod_spec()});
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu, "memory": "10Mi"}});
    pod
}

fn a_pod(cluster: &Cluster, namespace: &str) {
    make(cluster, namespace, "q", json!({"hard": {"pods": "5", "requests.cpu": "1", "memory": "1Gi"}}));
    let pods = path("v1", namespace, "pods");
    cluster.create(&pods, &pod("a", "600m"));
    uses(cluster, namespace, "q", "requests.cpu", "600m");
    uses(cluster, namespace, "q", "memory", "10Mi");
    let refused = cluster.admin.post(&pods, &pod("b", "600m"));
    assert_eq!(refused.code, 403);
    let message = refused.json()["message"].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        message,
        "pods \"b\" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1"
    );
    let silent = cluster.admin.post(&pods, &json!({"metadata": {"name": "c"}, "spec": pod_spec()}));
    assert_eq!(silent.code, 403, "{}", silent.text());
    cluster.delete(&format!("{pods}/a"));
    uses(cluster, namespace, "q", "pods", "0");
    uses(cluster, namespace, "q", "requests.cpu", "0");
}

fn a_replica_set(cluster: &Cluster, namespace: &str) {
    let set = json!({"metadata": {"name": "r"}, "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "r"}}, "template": template("r")}});
    counted(cluster, namespace, "count/replicasets.apps", "3", "apps/v1", "replicasets", &set);
}

fn a_replication_controller(cluster: &Cluster, namespace: &str) {
    let controller = json!({"metadata": {"name": "r"}, "spec": {"replicas": 0, "template": template("r")}});
    counted(cluster, namespace, "replicationcontrollers", "3", "v1", "replicationcontrollers", &controller);
}

fn scoped(cluster: &Cluster, namespace: &str, scopes: [&str; 2], first: &Value, second: &Value) {
    for (name, scope) in ["one", "other"].into_iter().zip(scopes) {
        make(cluster, namespace, name, json!({"hard": {"pods": "5"}, "scopes": [scope]}));
    }
    let pods = path("v1", namespace, "pods");
    cluster.create(&pods, first);
    uses(cluster, namespace, "one", "pods", "1");
    uses(cluster, namespace, "other", "pods", "0");
    cluster.create(&pods, second);
    uses(cluster, namespace, "other", "pods", "1");
    uses(cluster, namespace, "one", "pods", "1");
    cluster.delete(&format!("{pods}/{}", first["metadata"]["name"].as_str().unwrap_or_default()));
    uses(cluster, namespace, "one", "pods", "0");
}

fn terminating(cluster: &Cluster, namespace: &str) {
    let mut short = pod("short", "1m");
    short["spec"]["activeDeadlineSeconds"] = 3600.into();
    scoped(cluster, namespace, ["Terminating", "NotTerminating"], &short, &pod("long", "1m"));
}

fn best_effort(cluster: &Cluster, namespace: &str) {
    let effort = json!({"metadata": {"name": "effort"}, "spec": pod_spec()});
    scoped(cluster, namespace, ["BestEffort", "NotBestEffort"], &effort, &pod("burst", "1m"));
}

fn changed(cluster: &Cluster, namespace: &str) {
    make(cluster, namespace, "q", json!({"hard": {"cpu": "1"}}));
    let one = format!("{}/q", quotas(namespace));
    cluster.merge(&one, &json!({"spec": {"hard": {"cpu": "2"}}}));
    cluster.until_shows("the new amount", &one, |quota| quota["status"]["hard"]["cpu"] == "2");
    let scoped = cluster.admin.patch(&one, "merge", &json!({"spec": {"scopes": ["BestEffort"]}}));
    assert_eq!(scoped.code, 422, "{}", scoped.text());
    cluster.delete(&one);
    assert!(cluster.is_gone(&one));
}

fn status(cluster: &Cluster, namespace: &str) {
    make(cluster, namespace, "q", json!({"hard": {"cpu": "1"}}));
    let one = format!("{}/q", quotas(namespace));
    let answer =
        cluster.admin.patch(&format!("{one}/status"), "merge", &json!({"status": {"hard": {"cpu": "9"}}}));
    assert_eq!(answer.code, 200);
    assert_eq!(answer.json()["status"]["hard"]["cpu"], "9");
    cluster.until_shows("the truth again", &one, |quota| quota["status"]["hard"]["cpu"] == "1");
    assert_eq!(cluster.get(&one)["spec"]["hard"]["cpu"], "1");
}

fn of_class(cluster: &Cluster, namespace: &str) {
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    cluster.create(classes, &json!({"metadata": {"name": namespace}, "value": 7}));
    let one = json!([{"scopeName": "PriorityClass", "operator": "In", "values": [namespace]}]);
    make(cluster, namespace, "q", json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": one}}));
    let pods = path("v1", namespace, "pods");
    let pod = |name: &str, class: Option<&str>| {
        let mut pod = json!({"metadata": {"name": name}, "spec": pod_spec()});
        if let Some(class) = class {
            pod["spec"]["priorityClassName"] = class.into();
        }
        pod
    };
    cluster.create(&pods, &pod("other", None));
    cluster.create(&pods, &pod("a", Some(namespace)));
    uses(cluster, namespace, "q", "pods", "1");
    let refused = cluster.admin.post(&pods, &pod("b", Some(namespace)));
    assert!(refused.code == 403 && refused.text().contains("exceeded quota: q"), "{}", refused.text());
    cluster.delete(&format!("{classes}/{namespace}"));
}

fn custom(cluster: &Cluster, namespace: &str) {
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let group = format!("{namespace}.quota.example.com");
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let names =
        json!({"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"});
    let one = format!("{definitions}/widgets.{group}");
    cluster.create(definitions, &json!({"metadata": {"name": format!("widgets.{group}")}, "spec": {"group": group,
        "scope": "Namespaced", "names": names, "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}}));
    let widgets = path(&format!("{group}/v1"), namespace, "widgets");
    cluster.until("the new kind", || cluster.admin.get(&widgets).code == 200);
    let widget = |name: &str| json!({"apiVersion": format!("{group}/v1"), "kind": "Widget", "metadata": {"name": name}});
    cluster.create(&widgets, &widget("before"));
    let counted = format!("count/widgets.{group}");
    make(cluster, namespace, "q", json!({"hard": {counted.as_str(): "2"}}));
    uses(cluster, namespace, "q", &counted, "1");
    cluster.create(&widgets, &widget("a"));
    uses(cluster, namespace, "q", &counted, "2");
    let refused = cluster.admin.post(&widgets, &widget("b"));
    assert!(refused.code == 403 && refused.text().contains("exceeded quota: q"), "{}", refused.text());
    cluster.delete(&format!("{widgets}/a"));
    uses(cluster, namespace, "q", &counted, "1");
    cluster.create(&widgets, &widget("b"));
    cluster.delete(&one);
}

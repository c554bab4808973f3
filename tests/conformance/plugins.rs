//! Admission, plugin by plugin: what each gives to an object, and what it refuses; and what a new pod gets besides.
//!
//! Elsewhere: LimitRanger (`limits`), ResourceQuota (`quotas`), the certificate trio (`certificates`), webhooks and policies
//! (`policies`), NodeRestriction (the server's own tests and `e2e api_nodes`).

use serde_json::{Value, json};

use super::Behaviour;
use super::cluster::{Cluster, path, pod_spec};

pub(super) const ALL: &[Behaviour] = &[
    ("NamespaceLifecycle refuses what has no namespace, and keeps those that must be", namespace_lifecycle),
    ("ServiceAccount gives a pod its account and its token", service_account),
    ("TaintNodesByCondition keeps pods off a new node", taint_nodes),
    ("PodSecurity judges by the version that a label names", pod_security),
    ("Priority gives the number of a class", priority),
    ("DefaultTolerationSeconds lets a pod stay five minutes", default_tolerations),
    ("StorageObjectInUseProtection protects claims and volumes", in_use),
    ("RuntimeClass gives the overhead of a class", runtime_class),
    ("a new pod's labels become conditions of its selectors", label_keys),
];

fn pod(name: &str, more: &[(&str, Value)]) -> Value {
    let mut pod = json!({"metadata": {"name": name}, "spec": pod_spec()});
    for (field, value) in more {
        pod["spec"][*field] = value.clone();
    }
    pod
}

#[track_caller]
fn refused(cluster: &Cluster, path: &str, object: &Value, code: u16, why: &str) {
    let answer = cluster.admin.post(path, object);
    assert!(answer.code == code && answer.text().contains(why), "{} {}", answer.code, answer.text());
}

fn namespace_lifecycle(cluster: &Cluster, _: &str) {
    let nowhere = path("v1", "nowhere", "configmaps");
    let map = json!({"metadata": {"name": "m"}});
    refused(cluster, &nowhere, &map, 404, "namespaces \\\"nowhere\\\" not found");
    let answer = cluster.admin.delete("/api/v1/namespaces/kube-system");
    assert_eq!(answer.code, 403, "{}", answer.text());
    assert!(answer.text().contains("this namespace may not be deleted"), "{}", answer.text());
}

fn service_account(cluster: &Cluster, namespace: &str) {
    let pods = path("v1", namespace, "pods");
    let made = cluster.create(&pods, &pod("p", &[]));
    assert_eq!(made["spec"]["serviceAccountName"], "default");
    let mount = &made["spec"]["containers"][0]["volumeMounts"][0]["mountPath"];
    assert_eq!(mount, "/var/run/secrets/kubernetes.io/serviceaccount");
    let unknown = pod("q", &[("serviceAccountName", json!("none"))]);
    refused(cluster, &pods, &unknown, 403, "serviceaccount \\\"none\\\" not found");
}

fn taint_nodes(cluster: &Cluster, namespace: &str) {
    let name = format!("fresh-{namespace}");
    let made = cluster
        .create("/api/v1/nodes", &json!({"metadata": {"name": name}, "spec": {"unschedulable": true}}));
    let taints = made["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let wanted = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    assert!(taints.contains(&wanted), "{made}");
    cluster.delete(&format!("/api/v1/nodes/{name}"));
}

fn pod_security(cluster: &Cluster, namespace: &str) {
    let label = |version: &str| {
        let labels = json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": version});
        cluster.merge(&format!("/api/v1/namespaces/{namespace}"), &json!({"metadata": {"labels": labels}}));
    };
    let pods = path("v1", namespace, "pods");
    let sysctls = json!({"sysctls": [{"name": "net.ipv4.tcp_rmem", "value": "4096 4096 4096"}]});
    label("v1.31");
    let why = "violates PodSecurity \\\"baseline:v1.31\\\": forbidden sysctls (net.ipv4.tcp_rmem)";
    refused(cluster, &pods, &pod("p", &[("securityContext", sysctls.clone())]), 403, why);
    label("latest");
    cluster.create(&pods, &pod("p", &[("securityContext", sysctls)]));
    refused(cluster, &pods, &pod("q", &[("hostPID", json!(true))]), 403, "host namespaces (hostPID=true)");
    let odd = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce-version": "1.31"}}});
    let answer = cluster.admin.patch(&format!("/api/v1/namespaces/{namespace}"), "merge", &odd);
    assert_eq!(answer.code, 422, "{}", answer.text());
}

fn priority(cluster: &Cluster, namespace: &str) {
    let (classes, pods) = ("/apis/scheduling.k8s.io/v1/priorityclasses", path("v1", namespace, "pods"));
    let class = json!({"metadata": {"name": namespace}, "value": 77, "preemptionPolicy": "Never"});
    cluster.create(classes, &class);
    let made = cluster.create(&pods, &pod("p", &[("priorityClassName", json!(namespace))]));
    assert_eq!((&made["spec"]["priority"], &made["spec"]["preemptionPolicy"]), (&json!(77), &json!("Never")));
    let unknown = pod("q", &[("priorityClassName", json!("none"))]);
    refused(cluster, &pods, &unknown, 403, "no PriorityClass with name none was found");
    cluster.delete(&format!("{classes}/{namespace}"));
}

fn default_tolerations(cluster: &Cluster, namespace: &str) {
    let made = cluster.create(&path("v1", namespace, "pods"), &pod("p", &[]));
    let of = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
    let wanted = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"].map(of);
    assert_eq!(made["spec"]["tolerations"], json!(wanted));
}

fn in_use(cluster: &Cluster, namespace: &str) {
    let asked = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}, "storageClassName": "none"});
    let claims = path("v1", namespace, "persistentvolumeclaims");
    let made = cluster.create(&claims, &json!({"metadata": {"name": "c"}, "spec": asked}));
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let volume = json!({"metadata": {"name": namespace}, "spec": {"capacity": {"storage": "1Mi"}, "storageClassName": "alone",
        "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/nowhere"}}});
    let made = cluster.create("/api/v1/persistentvolumes", &volume);
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pv-protection"]));
    cluster.delete(&format!("/api/v1/persistentvolumes/{namespace}"));
}

fn runtime_class(cluster: &Cluster, namespace: &str) {
    let (classes, pods) = ("/apis/node.k8s.io/v1/runtimeclasses", path("v1", namespace, "pods"));
    let class = json!({"metadata": {"name": namespace}, "handler": "h", "overhead": {"podFixed": {"memory": "10Mi"}}});
    cluster.create(classes, &class);
    let made = cluster.create(&pods, &pod("p", &[("runtimeClassName", json!(namespace))]));
    assert_eq!(made["spec"]["overhead"], json!({"memory": "10Mi"}));
    let unknown = pod("q", &[("runtimeClassName", json!("none"))]);
    refused(cluster, &pods, &unknown, 403, "RuntimeClass \\\"none\\\" not found");
    cluster.delete(&format!("{classes}/{namespace}"));
}

fn label_keys(cluster: &Cluster, namespace: &str) {
    let pods = path("v1", namespace, "pods");
    let spread = |selector: Value| {
        json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": selector, "matchLabelKeys": ["version"]}])
    };
    let near = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "zone", "labelSelector": {}, "matchLabelKeys": ["app"], "mismatchLabelKeys": ["version"]}]}});
    let labelled = |name: &str, selector: Value| {
        let fields = [("topologySpreadConstraints", spread(selector)), ("affinity", near.clone())];
        let mut pod = pod(name, &fields);
        pod["metadata"]["labels"] = json!({"app": "a", "version": "2"});
        pod
    };
    let made = cluster.create(&pods, &labelled("p", json!({"matchLabels": {"app": "a"}})));
    let condition =
        |key: &str, operator: &str, value: &str| json!({"key": key, "operator": operator, "values": [value]});
    let selector = &made["spec"]["topologySpreadConstraints"][0]["labelSelector"];
    assert_eq!(selector["matchExpressions"], json!([condition("version", "In", "2")]));
    let terms =
        &made["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let both = json!([condition("app", "In", "a"), condition("version", "NotIn", "2")]);
    assert_eq!(terms[0]["labelSelector"]["matchExpressions"], both);
    let twice = labelled("twice", json!({"matchLabels": {"version": "2"}}));
    refused(cluster, &pods, &twice, 422, "exists in both matchLabelKeys and labelSelector");
    // What is stored can be written again.
    cluster.merge(&format!("{pods}/p"), &json!({"metadata": {"annotations": {"a": "b"}}}));
}

//! Services and the endpoints that controllers keep for them.

use serde_json::{Value, json};

use super::Behaviour;
use super::cluster::{Cluster, path, pod_spec};

pub(super) const ALL: &[Behaviour] = &[
    (
        "a Service whose selector matches nothing has empty Endpoints and a slice, and they go with it",
        nothing_selected,
    ),
    ("the pods of a Service are its Endpoints", selected),
    ("Endpoints that somebody writes are mirrored", mirrored),
    ("a Service is found from the list of all namespaces", everywhere),
    ("a Service's status is a part of its own", status),
    ("Services are deleted together", together),
    ("the address of a Service is an object, and goes with it", an_address_is_an_object),
    ("another ServiceCIDR gives addresses until it is to go, and stays while one is used", another_range),
];

const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";

fn an_address_is_an_object(cluster: &Cluster, namespace: &str) {
    let range = cluster.until_shows(
        "the protection of the cluster's range",
        &format!("{RANGES}/kubernetes"),
        |range| range["metadata"]["finalizers"][0] == "networking.k8s.io/service-cidr-finalizer",
    );
    assert_eq!(range["status"]["conditions"][0]["status"], "True", "{range}");
    let all = path("v1", namespace, "services");
    // One that no other behaviour is given meanwhile: of the lower part, from which nothing is drawn (KEP-3070).
    let range = range["spec"]["cidrs"][0].as_str().unwrap_or_default();
    let octets: Vec<&str> = range.split('.').collect();
    let mut asks = service("s");
    asks["spec"]["clusterIP"] = format!("{}.{}.0.211", octets[0], octets[1]).into();
    let made = cluster.create(&all, &asks);
    let address = made["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
    let object = cluster.get(&format!("{ADDRESSES}/{address}"));
    let parent = json!({"group": "", "resource": "services", "namespace": namespace, "name": "s"});
    assert_eq!(object["spec"]["parentRef"], parent);
    assert_eq!(object["metadata"]["labels"]["ipaddress.kubernetes.io/managed-by"], "ipallocator.k8s.io");
    // What is lost comes back.
    cluster.delete(&format!("{ADDRESSES}/{address}"));
    cluster.until("the address again", || cluster.admin.get(&format!("{ADDRESSES}/{address}")).code == 200);
    cluster.delete(&format!("{all}/s"));
    assert!(cluster.is_gone(&format!("{ADDRESSES}/{address}")));
    // It can be asked for at once; what has it otherwise is in the way.
    let mut same = service("t");
    same["spec"]["clusterIP"] = address.as_str().into();
    cluster.create(&all, &same);
    let refused = cluster.admin.post(&all, &{
        let mut third = same.clone();
        third["metadata"]["name"] = "u".into();
        third
    });
    assert_eq!(refused.code, 422, "{}", refused.text());
    assert!(refused.text().contains("provided IP is already allocated"), "{}", refused.text());
}

fn another_range(cluster: &Cluster, namespace: &str) {
    let one = format!("{RANGES}/{namespace}");
    let range = json!({"metadata": {"name": namespace}, "spec": {"cidrs": ["10.213.77.0/28"]}});
    let all = path("v1", namespace, "services");
    let mut asks = service("s");
    asks["spec"]["clusterIP"] = "10.213.77.9".into();
    let refused = cluster.admin.post(&all, &asks);
    assert!(
        refused.text().contains("the provided network does not match the current range"),
        "{}",
        refused.text()
    );
    cluster.create(RANGES, &range);
    cluster
        .until_shows("that it is ready", &one, |range| range["status"]["conditions"][0]["status"] == "True");
    cluster.create(&all, &asks);
    let refused = cluster.admin.patch(&one, "merge", &json!({"spec": {"cidrs": ["10.213.78.0/28"]}}));
    assert_eq!(refused.code, 422, "{}", refused.text());
    cluster.delete(&one);
    let waits = cluster.until_shows("why it stays", &one, |range| {
        range["status"]["conditions"][0]["reason"] == "Terminating"
    });
    assert_eq!(waits["status"]["conditions"][0]["status"], "False", "{waits}");
    let mut late = service("late");
    late["spec"]["clusterIP"] = "10.213.77.10".into();
    assert_eq!(cluster.admin.post(&all, &late).code, 422);
    cluster.delete(&format!("{all}/s"));
    cluster.until("its end", || cluster.is_gone(&one));
}

fn slices(cluster: &Cluster, namespace: &str, service: &str) -> Vec<Value> {
    let all = path("discovery.k8s.io/v1", namespace, "endpointslices");
    cluster.items(&format!("{all}?labelSelector=kubernetes.io%2Fservice-name%3D{service}"))
}

fn service(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}})
}

fn nothing_selected(cluster: &Cluster, namespace: &str) {
    let all = path("v1", namespace, "services");
    cluster.create(&all, &service("s"));
    let endpoints = format!("{}/s", path("v1", namespace, "endpoints"));
    let made = cluster.until_shows("its Endpoints", &endpoints, |_| true);
    assert!(made["subsets"].as_array().is_none_or(Vec::is_empty), "{made}");
    cluster.until("its slice", || slices(cluster, namespace, "s").len() == 1);
    cluster.delete(&format!("{all}/s"));
    cluster.until("their end", || cluster.is_gone(&endpoints) && slices(cluster, namespace, "s").is_empty());
}

fn selected(cluster: &Cluster, namespace: &str) {
    cluster.create(&path("v1", namespace, "services"), &service("s"));
    let pods = path("v1", namespace, "pods");
    cluster.create(&pods, &json!({"metadata": {"name": "p", "labels": {"app": "s"}}, "spec": pod_spec()}));
    cluster.say(namespace, "p", "Running");
    let endpoints = format!("{}/s", path("v1", namespace, "endpoints"));
    let shown = cluster.until_shows("its address", &endpoints, |endpoints| {
        endpoints["subsets"][0]["addresses"][0]["ip"] == "10.0.0.9"
    });
    assert_eq!(shown["subsets"][0]["ports"], json!([{"port": 8080, "protocol": "TCP"}]));
    assert_eq!(shown["subsets"][0]["addresses"][0]["targetRef"]["name"], "p");
    cluster.until("its slice", || {
        let slices = slices(cluster, namespace, "s");
        slices.iter().any(|slice| slice["endpoints"][0]["addresses"] == json!(["10.0.0.9"]))
    });
    cluster.delete(&format!("{pods}/p"));
    cluster.until_shows("no address", &endpoints, |endpoints| {
        endpoints["subsets"].as_array().is_none_or(Vec::is_empty)
    });
}

fn mirrored(cluster: &Cluster, namespace: &str) {
    cluster.create(
        &path("v1", namespace, "services"),
        &json!({"metadata": {"name": "own"}, "spec": {"ports": [{"port": 80}]}}),
    );
    let all = path("v1", namespace, "endpoints");
    let subset =
        |ip: &str, port: i64| json!([{"addresses": [{"ip": ip}], "ports": [{"name": "http", "port": port}]}]);
    let made = cluster.create(&all, &json!({"metadata": {"name": "own"}, "subsets": subset("10.1.2.3", 80)}));
    let address = |ip: &str, port: i64| {
        let slices = slices(cluster, namespace, "own");
        slices.len() == 1
            && slices[0]["endpoints"][0]["addresses"] == json!([ip])
            && slices[0]["ports"][0]["port"] == port
            && slices[0]["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
                == "endpointslicemirroring-controller.k8s.io"
    };
    cluster.until("a mirror", || address("10.1.2.3", 80));
    let mut changed = made;
    changed["subsets"] = subset("10.2.3.4", 9090);
    cluster.put(&format!("{all}/own"), &changed);
    cluster.until("a changed mirror", || address("10.2.3.4", 9090));
    cluster.delete(&format!("{all}/own"));
    cluster.until("no mirror", || slices(cluster, namespace, "own").is_empty());
}

fn everywhere(cluster: &Cluster, _: &str) {
    let all = cluster.items("/api/v1/services");
    let found = all.iter().any(|service| {
        service["metadata"]["name"] == "kubernetes" && service["metadata"]["namespace"] == "default"
    });
    assert!(found);
}

fn status(cluster: &Cluster, namespace: &str) {
    let all = path("v1", namespace, "services");
    let balancer =
        json!({"metadata": {"name": "b"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
    cluster.create(&all, &balancer);
    let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}});
    cluster.admin.patch(&format!("{all}/b/status"), "strategic-merge", &ingress).expect(200);
    let mut shown = cluster.get(&format!("{all}/b/status"));
    let condition = json!({"type": "Odd", "status": "True", "reason": "Told", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    shown["status"]["conditions"] = json!([condition]);
    assert_eq!(cluster.put(&format!("{all}/b/status"), &shown)["status"]["conditions"][0]["type"], "Odd");
    let plain = cluster.get(&format!("{all}/b"));
    assert_eq!(plain["status"]["loadBalancer"]["ingress"][0]["ip"], "203.0.113.1");
}

fn together(cluster: &Cluster, namespace: &str) {
    let all = path("v1", namespace, "services");
    for name in ["a", "b", "c"] {
        let mut one = service(name);
        one["metadata"]["labels"] = json!({"of": namespace});
        cluster.create(&all, &one);
    }
    cluster.delete(&format!("{all}?labelSelector=of%3D{namespace}"));
    cluster.until("their end", || cluster.items(&all).is_empty());
}

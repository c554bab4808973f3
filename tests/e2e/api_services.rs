//! Services as they change: what was given to them stays, what their type has no use for goes.

use harness::api::{Client, Server};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, kind: &str, more: Value) -> Value {
    let mut service = json!({"metadata": {"name": name}, "spec": {"type": kind, "selector": {"a": "b"}, "ports": [{"port": 80}]}});
    for (field, value) in more.as_object().into_iter().flatten() {
        service["spec"][field] = value.clone();
    }
    service
}

fn put(admin: &Client, name: &str, object: &Value) -> Value {
    let path = format!("{SERVICES}/{name}");
    admin.send("PUT", &path, "application/json", object.to_string().as_bytes()).expect(200)
}

#[test]
fn a_service_keeps_what_it_was_given_and_gives_up_what_its_type_does_not_need() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let path = format!("{SERVICES}/s");
    let retype = |kind: &str, more: Value| {
        let mut spec = json!({"type": kind});
        more.as_object().into_iter().flatten().for_each(|(field, value)| spec[field] = value.clone());
        admin.patch(&path, "merge", &json!({"spec": spec})).expect(200)["spec"].clone()
    };
    let local = json!({"externalTrafficPolicy": "Local"});
    let made = admin.post(SERVICES, &service("s", "LoadBalancer", local.clone())).expect(201)["spec"].clone();
    let (health, port, address) =
        (&made["healthCheckNodePort"], &made["ports"][0]["nodePort"], &made["clusterIP"]);
    assert!((30_000..=32_767).contains(&health.as_u64().unwrap_or(0)), "{made}");
    // Written anew without what was given.
    let again = put(&admin, "s", &service("s", "LoadBalancer", local.clone()))["spec"].clone();
    assert_eq!(
        (&again["healthCheckNodePort"], &again["ports"][0]["nodePort"], &again["clusterIP"]),
        (health, port, address)
    );
    // Nobody else has the port meanwhile.
    let other = service("t", "NodePort", json!({"ports": [{"port": 80, "nodePort": health}]}));
    admin.post(SERVICES, &other).refused(422, "Invalid", "provided port is already allocated");
    let another = if *health == 30_001 { 30_002 } else { 30_001 };
    let refused = json!({"spec": {"healthCheckNodePort": another}});
    admin.patch(&path, "merge", &refused).refused(
        422,
        "Invalid",
        "spec.healthCheckNodePort: Forbidden: field is immutable",
    );
    admin.patch(&path, "merge", &json!({"spec": {"clusterIP": "10.96.0.9"}})).refused(
        422,
        "Invalid",
        "spec.clusterIPs[0]: Invalid value: [\"10.96.0.9\"]: may not change once set",
    );
    let on_nodes = retype("NodePort", json!({"externalTrafficPolicy": "Cluster"}));
    assert_eq!(
        (on_nodes.get("healthCheckNodePort"), on_nodes.get("allocateLoadBalancerNodePorts")),
        (None, None)
    );
    assert_eq!(&on_nodes["ports"][0]["nodePort"], port);
    admin.post(SERVICES, &other).expect(201);
    let inside = retype("ClusterIP", json!({}));
    assert_eq!((inside.get("externalTrafficPolicy"), inside["ports"][0].get("nodePort")), (None, None));
    assert_eq!(&inside["clusterIP"], address);
    let elsewhere = retype("ExternalName", json!({"externalName": "a.example"}));
    assert_eq!((elsewhere.get("clusterIP"), elsewhere.get("ipFamilies")), (None, None));
    let balanced = retype("LoadBalancer", json!({"externalName": null, "externalTrafficPolicy": "Local"}));
    assert!(balanced["clusterIP"].is_string() && balanced["healthCheckNodePort"].is_u64(), "{balanced}");
    // One that needs no node ports has none.
    let none = service("u", "LoadBalancer", json!({"allocateLoadBalancerNodePorts": false}));
    assert_eq!(admin.post(SERVICES, &none).expect(201)["spec"]["ports"][0].get("nodePort"), None);
}

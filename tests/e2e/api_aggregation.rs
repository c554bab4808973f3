//! API aggregation: a real extension API server behind a Service, found, asked, streamed from, missed and found again.

use std::time::{Duration, Instant};

use harness::api::{Credential, Server};
use harness::extension::{Asked, Extension, Reply, own_address};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const WAVES: &str = "/apis/sea.example.com/v1/namespaces/default/waves";
/// How long the API may take to see a change; what no event tells is asked every 30 s.
const LIMIT: Duration = Duration::from_secs(120);

fn wave(name: &str) -> Value {
    json!({"kind": "Wave", "apiVersion": "sea.example.com/v1", "metadata": {"name": name, "namespace": "default", "resourceVersion": "1"}})
}

/// What the extension serves: who asks comes back with everything.
fn answer(asked: &Asked) -> Reply {
    let resource = json!({"name": "waves", "singularName": "wave", "namespaced": true, "kind": "Wave", "verbs": ["get", "list", "watch"], "shortNames": ["wv"]});
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    match path {
        "/apis/sea.example.com/v1" => Reply::Json(
            200,
            json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "sea.example.com/v1", "resources": [resource,
                {"name": "waves/height", "singularName": "", "namespaced": true, "kind": "Wave", "verbs": ["get"]}]}),
        ),
        "/openapi/v3" => Reply::Json(
            200,
            json!({"paths": {"apis/sea.example.com/v1": {"serverRelativeURL": "/openapi/v3/apis/sea.example.com/v1?hash=ABC"}}}),
        ),
        "/openapi/v3/apis/sea.example.com/v1" => Reply::Json(
            200,
            json!({"openapi": "3.0.0", "info": {"title": "sea", "version": "1"}, "paths": {}}),
        ),
        "/openapi/v2" => Reply::Json(
            200,
            json!({"swagger": "2.0", "paths": {"/apis/sea.example.com/v1/": {}, "/api/v1/": {"stolen": true}}, "definitions": {"com.example.sea.Wave": {}}}),
        ),
        WAVES if query.contains("watch") => Reply::Stream(vec![
            json!({"type": "ADDED", "object": wave("a")}),
            json!({"type": "ADDED", "object": wave("b")}),
        ]),
        WAVES => Reply::Json(
            200,
            json!({"kind": "WaveList", "apiVersion": "sea.example.com/v1", "metadata": {}, "items": [wave("a")]}),
        ),
        path if path.ends_with("/height") => Reply::Echo,
        _ => {
            let mut object = wave("a");
            object["asked"] = json!({"user": asked.all("x-remote-user"), "groups": asked.all("x-remote-group"),
                "authorization": asked.all("authorization"), "impersonated": asked.all("impersonate-user"), "query": query});
            Reply::Json(200, object)
        }
    }
}

fn condition(server: &Server, name: &str) -> Value {
    server.admin().get(&format!("{SERVICES}/{name}")).expect(200)["status"]["conditions"][0].clone()
}

fn wait_for(server: &Server, reason: &str) -> Value {
    let begin = Instant::now();
    loop {
        let found = condition(server, "v1.sea.example.com");
        if found["reason"] == reason {
            return found;
        }
        assert!(begin.elapsed() < LIMIT, "{reason}: {found}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn kubectl(server: &Server, arguments: &[&str]) -> String {
    let output = server.kubectl(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "kubectl {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Registers the group version with a Service at the extension's address.
fn register(server: &Server, extension: &Extension) {
    let admin = server.admin();
    let service = json!({"spec": {"group": "sea.example.com", "version": "v1", "groupPriorityMinimum": 2000, "versionPriority": 10,
        "service": {"name": "sea", "namespace": "default"}, "caBundle": extension.bundle()}, "metadata": {"name": "v1.sea.example.com"}});
    let mut wrong = service.clone();
    wrong["metadata"]["name"] = "v2.sea.example.com".into();
    admin.post(SERVICES, &wrong).refused(
        422,
        "Invalid",
        "must be `spec.version+\".\"+spec.group`: \"v1.sea.example.com\"",
    );
    assert_eq!(admin.post(SERVICES, &service).expect(201)["spec"]["service"]["port"], 443);
    let found = wait_for(server, "ServiceNotFound");
    assert_eq!(
        (&found["status"], &found["message"]),
        (&json!("False"), &json!("service/sea in \"default\" is not present"))
    );
    admin.get(WAVES).refused(503, "ServiceUnavailable", "service unavailable");
    let service = json!({"metadata": {"name": "sea"}, "spec": {"ports": [{"name": "https", "port": 443}]}});
    admin.post("/api/v1/namespaces/default/services", &service).expect(201);
    wait_for(server, "EndpointsNotFound");
    let address = extension.address();
    let slice = json!({"addressType": "IPv4", "metadata": {"name": "sea-1", "labels": {"kubernetes.io/service-name": "sea"}},
        "ports": [{"name": "https", "port": address.port()}], "endpoints": [{"addresses": [address.ip().to_string()]}]});
    admin.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).expect(201);
    let found = wait_for(server, "Passed");
    assert_eq!((&found["status"], &found["message"]), (&json!("True"), &json!("all checks passed")));
}

#[test]
fn an_extension_server_is_part_of_the_api() {
    let Some(own) = own_address() else {
        harness::skip("api_aggregation", "this machine has no address beside loopback");
        return;
    };
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let published =
        admin.get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication").expect(200);
    assert_eq!(published["data"]["requestheader-allowed-names"], "[\"front-proxy-client\"]");
    let authority =
        published["data"]["requestheader-client-ca-file"].as_str().expect("an authority").to_owned();
    let extension = Extension::start(own, "sea.default.svc", &authority, answer);
    register(&server, &extension);
    // What is served here has its APIServices too.
    assert_eq!(condition(&server, "v1.apps")["reason"], "Local");
    assert_eq!(condition(&server, "v1.")["message"], "Local APIServices are always available");
    let shown = kubectl(&server, &["get", "apiservices"]);
    let row = |name: &str| {
        shown
            .lines()
            .find(|line| line.starts_with(name))
            .map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(row("v1.sea.example.com").as_deref(), Some("v1.sea.example.com default/sea True"));
    assert_eq!(row("v1.apps ").as_deref(), Some("v1.apps Local True"));
    // Who asks goes on, what proves it does not.
    let who = admin
        .with("impersonate-user", "jane")
        .with("impersonate-group", "system:masters")
        .with("x-remote-user", "forged");
    let asked = who.get(&format!("{WAVES}/a?pretty=1")).expect(200)["asked"].clone();
    assert_eq!(
        (&asked["user"], &asked["authorization"], &asked["impersonated"]),
        (&json!(["jane"]), &json!([]), &json!([]))
    );
    assert_eq!(
        (&asked["groups"], &asked["query"]),
        (&json!(["system:masters", "system:authenticated"]), &json!("pretty=1"))
    );
    admin.with("impersonate-user", "jane").get(WAVES).refused(
        403,
        "Forbidden",
        "waves.sea.example.com is forbidden",
    );
    server.client(Credential::None).get(WAVES).expect(403);
    // Discovery: between the built-in groups and those of custom resources, in both forms.
    let groups: Vec<String> = admin.get("/apis").expect(200)["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .map(|group| group["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(groups.last().map(String::as_str), Some("sea.example.com"), "{groups:?}");
    assert_eq!(admin.get("/apis/sea.example.com").expect(200)["preferredVersion"]["version"], "v1");
    let found = admin
        .with("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
        .get("/apis")
        .expect(200);
    let group = found["items"]
        .as_array()
        .expect("groups")
        .iter()
        .find(|item| item["metadata"]["name"] == "sea.example.com")
        .expect("the group")
        .clone();
    let version = &group["versions"][0];
    assert_eq!(
        (
            &version["freshness"],
            &version["resources"][0]["shortNames"],
            &version["resources"][0]["subresources"][0]["subresource"]
        ),
        (&json!("Current"), &json!(["wv"]), &json!("height"))
    );
    assert!(kubectl(&server, &["get", "wv", "-o", "name"]).contains("wave.sea.example.com/a"));
    assert!(kubectl(&server, &["api-resources", "--api-group", "sea.example.com"]).contains("waves"));
    // OpenAPI: its documents beside ours, and nothing of ours replaced.
    let index = admin.get("/openapi/v3").expect(200);
    let url = index["paths"]["apis/sea.example.com/v1"]["serverRelativeURL"]
        .as_str()
        .expect("a document")
        .to_owned();
    assert_eq!(admin.get(&url).expect(200)["info"]["title"], "sea");
    let swagger = admin.get("/openapi/v2").expect(200);
    assert!(
        swagger["definitions"]["com.example.sea.Wave"].is_object()
            && swagger["paths"]["/apis/sea.example.com/v1/"].is_object()
    );
    assert!(swagger["paths"]["/api/v1/"].get("stolen").is_none());
    streams(&server);
    // It goes: who asks first finds out, and it is checked at once.
    drop(extension);
    admin.get(WAVES).expect(503);
    let found = wait_for(&server, "FailedDiscoveryCheck");
    let said = found["message"].as_str().unwrap_or_default();
    assert!(
        said.starts_with(
            "failing or missing response from https://sea.default.svc/apis/sea.example.com/v1: "
        ) && said.contains("connection refused"),
        "{said}"
    );
    admin.get(WAVES).expect(503);
    admin.delete(&format!("{SERVICES}/v1.sea.example.com")).expect(200);
    let begin = Instant::now();
    while admin.get(WAVES).code != 404 {
        assert!(begin.elapsed() < LIMIT, "a group version without APIService is not served");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Watches and upgrades go through as they come.
fn streams(server: &Server) {
    let mut watch = server.admin().watch(&format!("{WAVES}?watch=1"));
    for name in ["a", "b"] {
        assert_eq!(watch.next_event().expect("an event")["object"]["metadata"]["name"], name);
    }
    drop(watch);
    let back = server.admin().echo(&format!("{WAVES}/a/height"), "echo", b"and back");
    assert_eq!(back, b"and back");
}

//! Custom resources: from a definition to objects, with kubectl and without.

use std::time::{Duration, Instant};

use harness::api::{Client, Server};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const TABS: &str = "/apis/x.example.com/v1/namespaces/default/tabs";
/// How long a definition may take until its resources are served, where nothing disturbs it.
const ESTABLISHED: Duration = Duration::from_secs(1);
/// How long a change may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn definition(plural: &str, kind: &str) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.x.example.com")},
        "spec": {"group": "x.example.com", "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind, "shortNames": [format!("{plural}x")], "categories": ["all"]},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "additionalPrinterColumns": [{"name": "Color", "type": "string", "jsonPath": ".spec.color"}],
                "schema": {"openAPIV3Schema": {"type": "object", "description": "A tab of something.",
                    "properties": {
                        "spec": {"type": "object", "properties": {
                            "replicas": {"type": "integer", "minimum": 0, "default": 1},
                            "color": {"type": "string", "maxLength": 8, "description": "What it looks like."},
                            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port"],
                                "items": {"type": "object", "required": ["port"], "properties": {
                                    "port": {"type": "integer"}, "name": {"type": "string"}}}}}},
                        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]}})
}

/// Creates a definition and waits until it is established; how long that took.
fn define(admin: &Client, definition: &Value) -> Duration {
    let begun = Instant::now();
    let name = definition["metadata"]["name"].as_str().expect("a name");
    let made = admin.post(DEFINITIONS, definition).expect(201);
    let revision = made["metadata"]["resourceVersion"].as_str().expect("a version");
    let mut watch = admin.watch(&format!(
        "{DEFINITIONS}?watch=1&fieldSelector=metadata.name={name}&resourceVersion={revision}"
    ));
    loop {
        let event = watch.next_event().expect("a change");
        let conditions = event["object"]["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if conditions.iter().any(|one| one["type"] == "Established" && one["status"] == "True") {
            break;
        }
    }
    begun.elapsed()
}

fn tab(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "x.example.com/v1", "kind": "Tab", "metadata": {"name": name}, "spec": spec})
}

#[test]
fn definitions_are_established_at_once() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let names = [("ads", "Ad"), ("beds", "Bed"), ("cabs", "Cab"), ("dots", "Dot"), ("eggs", "Egg")];
    let took = names.map(|(plural, kind)| define(&admin, &definition(plural, kind)));
    // A machine that stands still for a moment does so for one of them.
    assert!(took.iter().any(|took| *took < ESTABLISHED), "{took:?}");
}

#[test]
fn objects_of_a_definition_are_objects_like_others() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    define(&admin, &definition("tabs", "Tab"));
    let made = admin.post(TABS, &tab("a", json!({"color": "red", "gone": 1}))).expect(201);
    assert_eq!(made["spec"], json!({"color": "red", "replicas": 1}));
    assert_eq!(made["metadata"]["generation"], 1);
    admin.post(&format!("{TABS}?fieldValidation=Strict"), &tab("b", json!({"gone": 1}))).refused(
        400,
        "BadRequest",
        "strict decoding error: unknown field \"spec.gone\"",
    );
    admin.post(TABS, &tab("b", json!({"color": "much too long"}))).refused(
        422,
        "Invalid",
        "Tab.x.example.com \"b\" is invalid: spec.color: Too long: may not be more than 8 bytes",
    );
    // Status and spec have doors of their own; only the spec counts generations.
    let mut changed = made.clone();
    changed["status"] = json!({"replicas": 4, "selector": "a=b"});
    changed["spec"]["color"] = "blue".into();
    let status = admin.put(&format!("{TABS}/a/status"), &changed).expect(200);
    assert_eq!((&status["spec"]["color"], &status["metadata"]["generation"]), (&json!("red"), &json!(1)));
    let spec = admin
        .patch(&format!("{TABS}/a"), "merge", &json!({"spec": {"color": "blue"}, "status": {"replicas": 9}}))
        .expect(200);
    assert_eq!((&spec["status"]["replicas"], &spec["metadata"]["generation"]), (&json!(4), &json!(2)));
    admin.patch(&format!("{TABS}/a"), "strategic-merge", &json!({"spec": {}})).refused(
        415,
        "UnsupportedMediaType",
        "merge-patch",
    );
    // Scale.
    let scale = admin.get(&format!("{TABS}/a/scale")).expect(200);
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]),
        (&json!(1), &json!({"replicas": 4, "selector": "a=b"}))
    );
    admin.patch(&format!("{TABS}/a/scale"), "merge", &json!({"spec": {"replicas": 7}})).expect(200);
    assert_eq!(admin.get(&format!("{TABS}/a")).expect(200)["spec"]["replicas"], 7);
    // Selectors by the definition's fields.
    admin.post(TABS, &tab("c", json!({"color": "green"}))).expect(201);
    let found = admin.get(&format!("{TABS}?fieldSelector=spec.color=green")).expect(200);
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));
    assert_eq!((&found["kind"], &found["items"][0]["metadata"]["name"]), (&json!("TabList"), &json!("c")));
    // They have no protobuf of their own: who takes JSON too gets that, as client-go's typed clients do.
    let both = admin.with("accept", "application/vnd.kubernetes.protobuf,application/json");
    for path in [TABS.to_owned(), format!("{TABS}/a"), format!("{TABS}/a/status")] {
        let answer = both.get(&path);
        assert_eq!((answer.code, answer.header("content-type")), (200, "application/json"), "{path}");
    }
    assert_eq!(both.watch(&format!("{TABS}?watch=1")).next_event().expect("an event")["type"], "ADDED");
    let only = admin.with("accept", "application/vnd.kubernetes.protobuf");
    only.get(TABS).refused(406, "NotAcceptable", "only the following media types are accepted");
    assert_eq!(only.get(&format!("{TABS}/a/scale")).code, 200);
    let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    assert!(admin.with("accept", metadata).get(TABS).body.starts_with(b"k8s\0"));
    // Server-side apply item by item.
    let apply = |manager: &str, port: u32| {
        let config = tab("a", json!({"ports": [{"port": port, "name": manager}]}));
        let path = format!("{TABS}/a?fieldManager={manager}");
        admin.send("PATCH", &path, "application/apply-patch+yaml", config.to_string().as_bytes()).expect(200)
    };
    apply("one", 80);
    assert_eq!(apply("two", 81)["spec"]["ports"].as_array().map(Vec::len), Some(2));
}

#[test]
fn kubectl_finds_explains_and_prints_them() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    define(&admin, &definition("tabs", "Tab"));
    admin.post(TABS, &tab("a", json!({"color": "red"}))).expect(201);
    let run = |arguments: &[&str]| {
        let output = server.kubectl(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        text
    };
    let shown = run(&["get", "tabsx"]);
    assert_eq!(shown.split_whitespace().collect::<Vec<_>>(), ["NAME", "COLOR", "a", "red"]);
    assert!(run(&["get", "all"]).contains("tab.x.example.com/a"));
    assert!(run(&["explain", "tabs.spec.color"]).contains("What it looks like."));
    assert!(run(&["api-resources", "--api-group=x.example.com"]).contains("tabsx"));
    run(&["scale", "tab/a", "--replicas=3"]);
    let file = server.scratch("tab.yaml");
    std::fs::write(&file, tab("b", json!({"color": "blue", "typo": 1})).to_string()).expect("a file");
    let output = server.kubectl(["apply", "-f", file.to_str().expect("a path")]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown field \"spec.typo\""), "{output:?}");
    std::fs::write(&file, tab("b", json!({"color": "blue"})).to_string()).expect("a file");
    run(&["apply", "--server-side", "-f", file.to_str().expect("a path")]);
    // The older way sends the patch that OpenAPI says there is: custom resources have no merge keys.
    let classic = server.scratch("classic.yaml");
    for color in ["red", "green"] {
        std::fs::write(&classic, tab("c", json!({"color": color})).to_string()).expect("a file");
        run(&["apply", "-f", classic.to_str().expect("a path")]);
    }
    assert_eq!(admin.get(&format!("{TABS}/c")).expect(200)["spec"]["color"], "green");
    run(&["delete", "crd", "tabs.x.example.com", "--timeout=120s"]);
    // What was defined is served no more within a round of whoever looks at definitions.
    let begun = Instant::now();
    while admin.get(TABS).code == 200 {
        assert!(begun.elapsed() < PATIENCE, "it is still served");
    }
    admin.get(TABS).refused(404, "NotFound", "");
}

#[test]
fn definitions_survive_a_restart_and_take_their_objects_with_them() {
    let mut server = Server::start(PROGRAM);
    let admin = server.admin();
    define(&admin, &definition("tabs", "Tab"));
    let mut held = tab("held", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    admin.post(TABS, &held).expect(201);
    admin.post(TABS, &tab("free", json!({}))).expect(201);
    server.kill();
    server.restart();
    let admin = server.admin();
    assert_eq!(admin.get(TABS).expect(200)["items"].as_array().map(Vec::len), Some(2));
    // A name that another definition has is not given twice.
    let mut other = definition("bars", "Tab");
    other["spec"]["names"]["listKind"] = "BarList".into();
    admin.post(DEFINITIONS, &other).expect(201);
    let path = format!("{DEFINITIONS}/tabs.x.example.com");
    let gone = admin.delete(&path).expect(200);
    assert_eq!(gone["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    let mut watch = admin.watch(&format!("{TABS}?watch=1"));
    let last = loop {
        let event = watch.next_event().expect("an event");
        if event["object"]["metadata"]["name"] == "held"
            && event["object"]["metadata"]["deletionTimestamp"].is_string()
        {
            break event;
        }
    };
    assert_eq!(
        admin.get(&path).expect(200)["status"]["conditions"][2]["reason"],
        "InstanceDeletionInProgress"
    );
    let mut bars =
        admin.watch(&format!("{DEFINITIONS}?watch=1&fieldSelector=metadata.name=bars.x.example.com"));
    loop {
        let event = bars.next_event().expect("the definition as it is, and what becomes of it");
        // It may have been written a moment ago.
        if let Some(condition) = event["object"]["status"]["conditions"].get(0) {
            assert_eq!(condition["reason"], "KindConflict", "{event}");
            break;
        }
    }
    admin.post(TABS, &tab("late", json!({}))).refused(
        405,
        "MethodNotAllowed",
        "create not allowed while custom resource definition is terminating",
    );
    admin.patch(&format!("{TABS}/held"), "merge", &json!({"metadata": {"finalizers": null}})).expect(200);
    assert!(last["object"]["metadata"]["deletionTimestamp"].is_string());
    // With the last object the definition goes, and its names are free.
    loop {
        let event = bars.next_event().expect("a change");
        let conditions = event["object"]["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if conditions.iter().any(|one| one["type"] == "Established" && one["status"] == "True") {
            break;
        }
    }
    admin.get(&path).refused(404, "NotFound", "");
    admin.get(TABS).refused(404, "NotFound", "");
}

#[test]
fn versions_convert_and_storage_versions_are_remembered() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let mut two = definition("tabs", "Tab");
    let mut beta = two["spec"]["versions"][0].clone();
    beta["name"] = "v1beta1".into();
    beta["storage"] = false.into();
    beta["deprecated"] = true.into();
    two["spec"]["versions"].as_array_mut().expect("versions").push(beta);
    define(&admin, &two);
    admin.post(TABS, &tab("a", json!({"color": "red"}))).expect(201);
    let old = TABS.replace("/v1/", "/v1beta1/");
    let seen = admin.get(&format!("{old}/a")).expect(200);
    assert_eq!(
        (&seen["apiVersion"], &seen["spec"]["color"]),
        (&json!("x.example.com/v1beta1"), &json!("red"))
    );
    assert_eq!(admin.get(&old).expect(200)["items"][0]["apiVersion"], "x.example.com/v1beta1");
    let path = format!("{DEFINITIONS}/tabs.x.example.com");
    let swap = json!([{"op": "replace", "path": "/spec/versions/0/storage", "value": false},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": true}]);
    let swapped = admin.patch(&path, "json", &swap).expect(200);
    assert_eq!(swapped["status"]["storedVersions"], json!(["v1", "v1beta1"]));
    assert_eq!(admin.get(&format!("{TABS}/a")).expect(200)["apiVersion"], "x.example.com/v1");
}

#[test]
fn of_definitions_that_come_together_one_gets_the_name() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    // Forty of one group, of which ten want one kind.
    let plurals: Vec<String> = (0..40).map(|number| format!("bars{number}")).collect();
    std::thread::scope(|scope| {
        for some in plurals.chunks(5) {
            let client = server.admin();
            scope.spawn(move || {
                for plural in some {
                    let mut one = definition(plural, if plural.len() < 6 { "Same" } else { "Other" });
                    if plural.len() >= 6 {
                        one["spec"]["names"]["kind"] = plural.to_uppercase().replace("BARS", "Bars").into();
                    }
                    one["spec"]["names"]["listKind"] = format!("{plural}List").into();
                    client.post(DEFINITIONS, &one).expect(201);
                }
            });
        }
    });
    let limit = Instant::now() + Duration::from_secs(120);
    loop {
        let list = admin.get(DEFINITIONS).expect(200);
        let count = |condition: &str, status: &str| {
            let items = list["items"].as_array().into_iter().flatten();
            let has = |item: &&Value| {
                let conditions = item["status"]["conditions"].as_array();
                conditions
                    .into_iter()
                    .flatten()
                    .any(|one| one["type"] == condition && one["status"] == status)
            };
            items.filter(has).count()
        };
        // bars0 to bars9 want the same kind.
        if (count("Established", "True"), count("NamesAccepted", "False")) == (31, 9) {
            break;
        }
        assert!(Instant::now() < limit, "{}", list["items"]);
        std::thread::sleep(Duration::from_millis(50));
    }
}

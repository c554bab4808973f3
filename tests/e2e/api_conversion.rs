//! Versions of custom resources that a webhook converts, over real TLS: reads, lists, watches, writes, and what goes wrong.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::api::{Client, Server};
use harness::webhook::Webhook;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const DEFINITION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/ports.y.example.com";
/// Stored in this one: `spec.hostPort: "h:p"`.
const V1: &str = "/apis/y.example.com/v1/namespaces/default/ports";
/// `spec.host` and `spec.port`.
const V2: &str = "/apis/y.example.com/v2/namespaces/default/ports";
/// How long a changed definition may take to be acted on.
const ACTED_ON: Duration = Duration::from_secs(60);
/// Looks at an object, of which the first ones may ask how it is shown.
const LOOKS: usize = 20;

fn definition(webhook: &Webhook) -> Value {
    let version = |name: &str, storage: bool, properties: Value, color: &str| {
        json!({"name": name, "served": true, "storage": storage, "subresources": {"status": {}},
            "selectableFields": [{"jsonPath": color}],
            "additionalPrinterColumns": [{"name": "Where", "type": "string", "jsonPath": color}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": properties},
                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}})
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "ports.y.example.com"},
        "spec": {"group": "y.example.com", "scope": "Namespaced", "names": {"plural": "ports", "kind": "Port"},
            "conversion": {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v9", "v1"], "clientConfig": webhook.client_config()}},
            "versions": [
                version("v1", true, json!({"hostPort": {"type": "string"}}), ".spec.hostPort"),
                version("v2", false, json!({"host": {"type": "string"}, "port": {"type": "string"},
                    "mode": {"type": "string", "default": "open"}}), ".spec.host")]}})
}

/// The conversion that the definition's author wrote.
fn convert(object: &Value, version: &str) -> Value {
    let mut made = object.clone();
    made["apiVersion"] = version.into();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    made["spec"] = if version.ends_with("v2") {
        let whole = text(&object["spec"]["hostPort"]);
        let (host, port) = whole.split_once(':').unwrap_or((&whole, ""));
        json!({"host": host, "port": port, "unknown": "to be pruned"})
    } else {
        json!({"hostPort": format!("{}:{}", text(&object["spec"]["host"]), text(&object["spec"]["port"]))})
    };
    made["metadata"]["labels"]["seen"] = version.rsplit('/').next().into();
    // Not its to change.
    made["metadata"]["generation"] = 99.into();
    made
}

fn reply(question: &Value) -> Value {
    let request = &question["request"];
    let version = request["desiredAPIVersion"].as_str().unwrap_or_default();
    let objects: Vec<Value> =
        request["objects"].as_array().into_iter().flatten().map(|one| convert(one, version)).collect();
    json!({"kind": "ConversionReview", "apiVersion": question["apiVersion"],
        "response": {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": objects}})
}

fn define(admin: &Client, definition: &Value) {
    admin.post(DEFINITIONS, definition).expect(201);
    let mut watch =
        admin.watch(&format!("{DEFINITIONS}?watch=1&fieldSelector=metadata.name=ports.y.example.com"));
    loop {
        let event = watch.next_event().expect("a change");
        let conditions = event["object"]["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if conditions.iter().any(|one| one["type"] == "Established" && one["status"] == "True") {
            return;
        }
    }
}

fn port(version: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("y.example.com/{version}"), "kind": "Port", "metadata": {"name": name, "labels": {"own": "1"}}, "spec": spec})
}

#[test]
fn versions_are_made_by_a_webhook_wherever_objects_are_shown_or_written() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let webhook = Webhook::start(reply);
    define(&admin, &definition(&webhook));
    // A read: pruned, defaulted, with metadata that is the server's.
    admin.post(V1, &port("v1", "a", json!({"hostPort": "h:80"}))).expect(201);
    assert!(webhook.asked().is_empty(), "what is stored as it is sent needs no conversion");
    let seen = admin.get(&format!("{V2}/a")).expect(200);
    assert_eq!(seen["apiVersion"], "y.example.com/v2");
    assert_eq!(seen["spec"], json!({"host": "h", "port": "80", "mode": "open"}));
    assert_eq!(seen["metadata"]["generation"], 1);
    assert_eq!(seen["metadata"]["labels"], json!({"own": "1", "seen": "v2"}));
    let question = webhook.asked().pop().expect("a question");
    assert_eq!(
        (&question["kind"], &question["apiVersion"]),
        (&json!("ConversionReview"), &json!("apiextensions.k8s.io/v1"))
    );
    assert_eq!(question["request"]["desiredAPIVersion"], "y.example.com/v2");
    assert_eq!(question["request"]["objects"][0]["spec"], json!({"hostPort": "h:80"}));
    // Asked once for each form of the definition, however often it is looked at: that it is established is news as well.
    for _ in 0..LOOKS {
        admin.get(&format!("{V2}/a")).expect(200);
        assert_eq!(
            admin.get(&format!("{V2}?labelSelector=seen=v2")).expect(200)["items"].as_array().map(Vec::len),
            Some(1)
        );
    }
    let asked = webhook.asked().len();
    assert!((1..=3).contains(&asked), "{asked} questions about one object");
    // A write in the other version is stored in v1, and comes back through the webhook.
    let made = admin.post(V2, &port("v2", "b", json!({"host": "i", "port": "81"}))).expect(201);
    assert_eq!((&made["spec"]["host"], &made["spec"]["mode"]), (&json!("i"), &json!("open")));
    assert_eq!(admin.get(&format!("{V1}/b")).expect(200)["spec"], json!({"hostPort": "i:81"}));
    let changed = admin.patch(&format!("{V2}/b"), "merge", &json!({"spec": {"port": "82"}})).expect(200);
    assert_eq!((&changed["spec"]["port"], &changed["metadata"]["generation"]), (&json!("82"), &json!(2)));
    let status = json!({"status": {"ready": true}});
    assert_eq!(
        admin.patch(&format!("{V2}/b/status"), "merge", &status).expect(200)["status"],
        status["status"]
    );
    assert_eq!(admin.get(&format!("{V1}/b")).expect(200)["spec"], json!({"hostPort": "i:82"}));
    // Lists: one question for all that were not asked about; selectors and tables by the version's own fields.
    for number in 0..5 {
        admin.post(V1, &port("v1", &format!("c{number}"), json!({"hostPort": "j:1"}))).expect(201);
    }
    let before = webhook.asked().len();
    let list = admin.get(&format!("{V2}?fieldSelector=spec.host=j")).expect(200);
    assert_eq!(
        (&list["apiVersion"], list["items"].as_array().map(Vec::len)),
        (&json!("y.example.com/v2"), Some(5))
    );
    assert!(webhook.asked().len() <= before + 1, "one question for a list");
    let table = admin.with("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    assert_eq!(table.get(&format!("{V2}/a")).expect(200)["rows"][0]["cells"], json!(["a", "h"]));
    // Metadata alone asks nobody.
    let before = webhook.asked().len();
    admin.post(V1, &port("v1", "m", json!({"hostPort": "k:1"}))).expect(201);
    let metadata = admin.with("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io");
    metadata.get(V2).expect(200);
    assert_eq!(webhook.asked().len(), before);
    // Watches of both versions.
    let mut watch = admin.watch(&format!("{V2}?watch=1&fieldSelector=spec.host=late"));
    admin.post(V1, &port("v1", "w", json!({"hostPort": "late:9"}))).expect(201);
    let event = watch.next_event().expect("an event");
    assert_eq!((&event["type"], &event["object"]["spec"]["port"]), (&json!("ADDED"), &json!("9")));
    admin.patch(&format!("{V1}/w"), "merge", &json!({"spec": {"hostPort": "else:9"}})).expect(200);
    assert_eq!(
        watch.next_event().expect("an event")["type"],
        "DELETED",
        "it left the selection of the version"
    );
    assert_eq!(admin.delete(&format!("{V2}/w")).expect(200)["status"], "Success");
}

#[test]
fn the_storage_version_moves_with_a_write_that_changes_nothing() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let webhook = Webhook::start(reply);
    define(&admin, &definition(&webhook));
    admin.post(V1, &port("v1", "a", json!({"hostPort": "h:80"}))).expect(201);
    let swap = json!([{"op": "replace", "path": "/spec/versions/0/storage", "value": false},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": true}]);
    let swapped = admin.patch(DEFINITION, "json", &swap).expect(200);
    assert_eq!(swapped["status"]["storedVersions"], json!(["v1", "v2"]));
    let mut unused = json!([{"op": "replace", "path": "/status/storedVersions", "value": ["v2"]},
        {"op": "remove", "path": "/spec/versions/0"}]);
    admin.patch(DEFINITION, "json", &unused).refused(
        422,
        "Invalid",
        "status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions",
    );
    let old = admin.get(&format!("{V2}/a")).expect(200);
    assert_eq!(old["spec"]["host"], "h");
    let limit = Instant::now() + ACTED_ON;
    loop {
        let moved = admin.put(&format!("{V2}/a"), &admin.get(&format!("{V2}/a")).expect(200)).expect(200);
        if moved["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"] {
            break;
        }
        assert!(Instant::now() < limit, "a write moves the object to the new storage version");
        std::thread::sleep(Duration::from_millis(20));
    }
    let before = webhook.asked().len();
    let revision = admin.put(&format!("{V2}/a"), &admin.get(&format!("{V2}/a")).expect(200)).expect(200);
    assert_eq!(
        revision["metadata"]["resourceVersion"],
        admin.get(&format!("{V2}/a")).expect(200)["metadata"]["resourceVersion"]
    );
    assert_eq!(webhook.asked().len(), before, "it lies there as it is shown");
    // Now v1 may go.
    admin
        .patch(&format!("{DEFINITION}/status"), "merge", &json!({"status": {"storedVersions": ["v2"]}}))
        .expect(200);
    unused.as_array_mut().expect("a patch").remove(0);
    admin.patch(DEFINITION, "json", &unused).expect(200);
}

#[test]
fn requests_and_watches_go_on_while_the_storage_version_moves() {
    /// Objects, each with a writer of its own.
    const WRITERS: usize = 3;
    const MOVES: usize = 20;
    /// Long enough for writes to meet the change of what is served.
    const BETWEEN: Duration = Duration::from_millis(100);
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let webhook = Webhook::start(reply);
    define(&admin, &definition(&webhook));
    for writer in 0..WRITERS {
        admin.post(V1, &port("v1", &format!("a{writer}"), json!({"hostPort": "h:0"}))).expect(201);
    }
    let mut watch = admin.watch(&format!("{V1}?watch=1"));
    let moving = AtomicBool::new(true);
    let written: Vec<usize> = std::thread::scope(|scope| {
        let writes = |writer: usize| {
            let (client, path) = (server.admin(), format!("{V2}/a{writer}"));
            let mut count = 0;
            while moving.load(Ordering::Acquire) {
                let mut object = client.get(&path).expect(200);
                count += 1;
                object["spec"]["port"] = count.to_string().into();
                client.put(&path, &object).expect(200);
            }
            count
        };
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || writes(writer))).collect();
        for number in 0..MOVES {
            let to_v2 = number % 2 == 0;
            let swap = json!([{"op": "replace", "path": "/spec/versions/0/storage", "value": !to_v2},
                {"op": "replace", "path": "/spec/versions/1/storage", "value": to_v2}]);
            admin.patch(DEFINITION, "json", &swap).expect(200);
            std::thread::sleep(BETWEEN);
        }
        moving.store(false, Ordering::Release);
        writers.into_iter().map(|writer| writer.join().expect("every write is taken")).collect()
    });
    // Whoever watches v1 sees v1, wherever objects lie, up to the last write.
    let mut left: BTreeSet<String> =
        written.iter().enumerate().map(|(writer, count)| format!("a{writer} h:{count}")).collect();
    while !left.is_empty() {
        let event = watch.next_event().expect("a change");
        let object = &event["object"];
        assert_eq!(object["apiVersion"], "y.example.com/v1", "{event}");
        let place = object["spec"]["hostPort"].as_str().expect("v1's field");
        left.remove(&format!("{} {place}", object["metadata"]["name"].as_str().expect("a name")));
    }
}

#[test]
fn a_conversion_that_fails_is_told_in_upstreams_words() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let mode = Arc::new(AtomicUsize::new(0));
    let now = mode.clone();
    let webhook = Webhook::start(move |question| {
        let mut answer = reply(question);
        let response = &mut answer["response"];
        match now.load(Ordering::Acquire) {
            1 => response["result"] = json!({"status": "Failure", "message": "no such host"}),
            2 => response["convertedObjects"] = json!([]),
            3 => response["convertedObjects"][0]["metadata"]["name"] = "other".into(),
            4 => response["convertedObjects"][0]["apiVersion"] = "y.example.com/v1".into(),
            5 => response["uid"] = "x".into(),
            _ => {}
        }
        answer
    });
    define(&admin, &definition(&webhook));
    admin.post(V1, &port("v1", "a", json!({"hostPort": "h:80"}))).expect(201);
    let head = "conversion webhook for y.example.com/v1, Kind=Port ";
    for (number, why) in [
        (1, "failed: no such host"),
        (2, "returned 0 objects, expected 1"),
        (3, "returned invalid object: must have the same name: a != other"),
        (
            4,
            "returned invalid object at index 0: invalid groupVersion (expected y.example.com/v2, received y.example.com/v1)",
        ),
        (5, "failed: expected response.uid="),
    ] {
        mode.store(number, Ordering::Release);
        for path in [format!("{V2}/a"), V2.to_owned(), format!("{V2}?watch=1")] {
            let answer = admin.get(&path);
            assert_eq!(answer.code, 500, "{path}");
            let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
            assert!(message.starts_with(&format!("{head}{why}")), "{path}: {message}");
        }
    }
    // What needs no conversion goes on; a delete in the other version does not, as upstream.
    assert_eq!(admin.get(V1).expect(200)["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(admin.delete(&format!("{V2}/a")).code, 500);
    // A watch that stands is ended with the failure.
    mode.store(0, Ordering::Release);
    let mut watch = admin.watch(&format!("{V2}?watch=1"));
    assert_eq!(watch.next_event().expect("what is there")["type"], "ADDED");
    drop(webhook);
    admin.patch(&format!("{V1}/a"), "merge", &json!({"spec": {"hostPort": "h:81"}})).expect(200);
    let last = watch.next_event().expect("an event");
    assert_eq!(last["type"], "ERROR");
    let message = last["object"]["message"].as_str().expect("a sentence");
    assert!(message.starts_with(&format!("{head}failed: Post \"https://")), "{message}");
    assert!(
        message.contains("/ask?timeout=30s\": dial tcp ") && message.ends_with("connect: connection refused"),
        "{message}"
    );
    assert!(watch.next_event().is_none());
    // The definition goes with its objects all the same.
    admin.delete(DEFINITION).expect(200);
    let limit = Instant::now() + ACTED_ON;
    while admin.get(DEFINITION).code != 404 {
        assert!(Instant::now() < limit, "the definition is gone in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}

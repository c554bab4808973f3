//! LIST and WATCH to the letter: what a resourceVersion binds, in which forms answers come, and what clients may keep.

use std::io::Read as _;

use serde_json::{Value, json};

use super::Behaviour;
use super::cluster::{Cluster, path, pod_spec};

pub(super) const ALL: &[Behaviour] = &[
    ("a list is as new as its resourceVersion asks", as_new_as_asked),
    ("options of a list that contradict each other are refused", contradictions),
    ("a watch begins where it is asked to", begins),
    ("a list of a revision that is gone says 410", gone),
    ("a table's columns are told once in a watch", tables_in_watches),
    ("metadata alone is listed and watched", metadata_alone),
    ("fields select by what each kind offers", field_selectors),
    ("large lists are compressed for those who ask", compressed),
    ("discovery and OpenAPI are kept by their hash", kept_by_hash),
    ("a delete keeps its preconditions", preconditions),
    ("a collection is deleted page by page and by its selection", collections),
];

const NOT_OLDER: &str = "resourceVersionMatch=NotOlderThan";
const EXACT: &str = "resourceVersionMatch=Exact";

fn maps(namespace: &str) -> String {
    path("v1", namespace, "configmaps")
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"of": "lists"}}})
}

/// Names of a list's items that the test made.
fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().into_iter().flatten();
    items.filter_map(|item| item["metadata"]["name"].as_str()).filter(|name| name.len() == 1).collect()
}

fn revision(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()
}

fn as_new_as_asked(cluster: &Cluster, namespace: &str) {
    let all = format!("{}?labelSelector=of%3Dlists", maps(namespace));
    let first = revision(&cluster.create(&maps(namespace), &map("a")));
    let second = revision(&cluster.create(&maps(namespace), &map("b")));
    let third = revision(&cluster.create(&maps(namespace), &map("c")));
    let now = &["a", "b", "c"][..];
    for (query, wanted) in [
        (String::new(), now),
        (format!("&resourceVersion={second}"), now),
        (format!("&resourceVersion={second}&{NOT_OLDER}"), now),
        (format!("&resourceVersion={third}&{NOT_OLDER}&limit=2"), &["a", "b"]),
        (format!("&resourceVersion={second}&{EXACT}"), &["a", "b"]),
        (format!("&resourceVersion={second}&{EXACT}&limit=1"), &["a"]),
        // Upstream's oldest rule.
        (format!("&resourceVersion={second}&limit=5"), &["a", "b"]),
        (format!("&resourceVersion={first}&{EXACT}&limit=5"), &["a"]),
    ] {
        let list = cluster.get(&format!("{all}{query}"));
        assert_eq!(names(&list), wanted, "{query}");
        if query.contains(EXACT) {
            assert!(query.contains(&format!("resourceVersion={}&", revision(&list))), "{query}: {list}");
        }
    }
    // As the cache has it: never behind what this client was told.
    cluster.until("the cache to have it", || names(&cluster.get(&format!("{all}&resourceVersion=0"))) == now);
    let future = cluster.admin.get(&format!("{all}&resourceVersion=999999999&{NOT_OLDER}"));
    assert_eq!(future.code, 504);
    assert_eq!(future.json()["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
}

fn contradictions(cluster: &Cluster, namespace: &str) {
    let all = maps(namespace);
    for name in ["a", "b", "c"] {
        cluster.create(&all, &map(name));
    }
    let page = cluster.get(&format!("{all}?limit=1"));
    let token = page["metadata"]["continue"].as_str().expect("there is more");
    for (query, code, told) in [
        (EXACT.to_owned(), 422, "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        (format!("{EXACT}&resourceVersion=0"), 422, "is forbidden for resourceVersion"),
        ("resourceVersionMatch=Odd&resourceVersion=1".to_owned(), 422, "Unsupported value: \\\"Odd\\\""),
        (format!("continue={token}&resourceVersion=1"), 400, "not allowed when using continue"),
        (format!("continue={token}&resourceVersion=1&{EXACT}"), 422, "forbidden when continue is provided"),
        ("sendInitialEvents=true".to_owned(), 422, "sendInitialEvents is forbidden for list"),
        (format!("watch=1&{NOT_OLDER}"), 422, "forbidden for watch unless sendInitialEvents is provided"),
        (
            "watch=1&sendInitialEvents=true".to_owned(),
            422,
            "requires setting resourceVersionMatch to NotOlderThan",
        ),
        ("limit=x".to_owned(), 400, "strconv.ParseInt"),
        ("resourceVersion=x".to_owned(), 400, "Invalid value"),
        ("labelSelector=a%20b".to_owned(), 400, "unable to parse requirement"),
    ] {
        let answer = cluster.admin.get(&format!("{all}?{query}"));
        assert_eq!(answer.code, code, "{query}: {}", answer.text());
        assert!(answer.text().contains(told), "{query}: {}", answer.text());
    }
    // With 0 beside it a token is as good as alone.
    cluster.get(&format!("{all}?continue={token}&resourceVersion=0&limit=1"));
}

fn begins(cluster: &Cluster, namespace: &str) {
    let all = format!("{}?labelSelector=of%3Dlists", maps(namespace));
    let first = revision(&cluster.create(&maps(namespace), &map("a")));
    cluster.create(&maps(namespace), &map("b"));
    let initial = "sendInitialEvents=true&allowWatchBookmarks=true";
    let cases = [
        ("watch=1".to_owned(), "a b"),
        ("watch=1&resourceVersion=0".to_owned(), "a b"),
        (format!("watch=1&resourceVersion={first}"), "b"),
        (format!("watch=1&{initial}&{NOT_OLDER}"), "a b ."),
        (format!("watch=1&{initial}&{NOT_OLDER}&resourceVersion={first}"), "a b ."),
        (format!("watch=1&sendInitialEvents=false&{NOT_OLDER}"), ""),
        (format!("watch=1&sendInitialEvents=false&{NOT_OLDER}&resourceVersion=0"), ""),
    ];
    let mut watches: Vec<_> =
        cases.iter().map(|(query, _)| cluster.admin.watch(&format!("{all}&{query}"))).collect();
    cluster.create(&maps(namespace), &map("c"));
    for (watch, (query, wanted)) in watches.iter_mut().zip(&cases) {
        let mut seen = Vec::new();
        while seen.last().is_none_or(|name| name != "c") {
            let event = watch.next_event().expect("an event");
            let object = &event["object"];
            seen.push(if event["type"] == "BOOKMARK" {
                assert_eq!(object["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
                assert_eq!((&object["kind"], &object["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
                ".".to_owned()
            } else {
                assert_eq!(event["type"], "ADDED", "{event}");
                object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
            });
        }
        assert_eq!(seen.join(" "), format!("{wanted} c").trim_start(), "{query}");
    }
    // Its time is its own, and a last bookmark says where it was.
    let mut short = cluster
        .admin
        .watch(&format!("{all}&watch=1&resourceVersion={first}&timeoutSeconds=1&allowWatchBookmarks=true"));
    let mut last = Value::Null;
    while let Some(event) = short.next_event() {
        last = event;
    }
    assert_eq!(last["type"], "BOOKMARK", "{last}");
}

fn gone(cluster: &Cluster, namespace: &str) {
    // Revision 1 was compacted, or fell out of every ring, long ago.
    cluster.create(&maps(namespace), &map("a"));
    cluster.until("the end of an early revision", || {
        cluster.admin.get(&format!("{}?resourceVersion=1&{EXACT}", maps(namespace))).code == 410
    });
    let list = cluster.admin.get(&format!("{}?resourceVersion=1&{EXACT}", maps(namespace)));
    let told = list.json();
    assert_eq!((&told["reason"], &told["status"]), (&json!("Expired"), &json!("Failure")));
    assert_eq!(told["message"], "The resourceVersion for the provided list is too old.");
}

fn tables_in_watches(cluster: &Cluster, namespace: &str) {
    let all = format!("{}?labelSelector=of%3Dlists", maps(namespace));
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let client = cluster.admin.with("accept", table);
    let first = revision(&cluster.create(&maps(namespace), &map("a")));
    let list = client.get(&all).expect(200);
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert_eq!(list["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let mut watch = client.watch(&format!("{all}&watch=1&resourceVersion={first}&includeObject=Object"));
    cluster.create(&maps(namespace), &map("b"));
    cluster.create(&maps(namespace), &map("c"));
    let (one, other) = (watch.next_event().expect("an event"), watch.next_event().expect("an event"));
    assert_eq!(one["object"]["columnDefinitions"][0]["name"], "Name");
    assert!(other["object"]["columnDefinitions"].is_null(), "{other}");
    for (event, name) in [(one, "b"), (other, "c")] {
        assert_eq!((&event["type"], &event["object"]["kind"]), (&json!("ADDED"), &json!("Table")));
        let row = &event["object"]["rows"][0];
        assert_eq!((&row["cells"][0], &row["object"]["kind"]), (&json!(name), &json!("ConfigMap")));
    }
}

fn metadata_alone(cluster: &Cluster, namespace: &str) {
    let all = format!("{}?labelSelector=of%3Dlists", maps(namespace));
    let partial = |what: &str| {
        cluster
            .admin
            .with("accept", &format!("application/json;as={what};v=v1;g=meta.k8s.io,application/json"))
    };
    let mut made = map("a");
    made["data"] = json!({"large": "value"});
    let first = revision(&cluster.create(&maps(namespace), &made));
    let list = partial("PartialObjectMetadataList").get(&all).expect(200);
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert!(list["items"][0]["data"].is_null() && list["items"][0]["metadata"]["uid"].is_string());
    let mut watch = partial("PartialObjectMetadata").watch(&format!("{all}&watch=1&resourceVersion={first}"));
    cluster.create(&maps(namespace), &map("b"));
    let event = watch.next_event().expect("an event");
    assert_eq!(event["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(event["object"]["metadata"]["name"], "b");
}

fn field_selectors(cluster: &Cluster, namespace: &str) {
    let pods = path("v1", namespace, "pods");
    for (name, node) in [("a", "here"), ("b", "there")] {
        let mut pod = json!({"metadata": {"name": name}, "spec": pod_spec()});
        pod["spec"]["nodeName"] = node.into();
        cluster.create(&pods, &pod);
    }
    cluster.say(namespace, "a", "Running");
    let secrets = path("v1", namespace, "secrets");
    cluster.create(&secrets, &json!({"metadata": {"name": "s"}, "type": "example.test/odd"}));
    for (collection, selector, wanted) in [
        (&pods, "spec.nodeName%3Dhere", &["a"][..]),
        (&pods, "spec.nodeName!%3Dhere", &["b"]),
        (&pods, "status.phase%3DRunning,spec.restartPolicy%3DAlways", &["a"]),
        (&pods, "status.podIP%3D10.0.0.9", &["a"]),
        (&pods, "spec.hostNetwork%3Dfalse", &["a", "b"]),
        (&pods, "spec.schedulerName%3Dother", &[]),
        (&pods, "metadata.name%3Db", &["b"]),
        (&secrets, "type%3Dexample.test/odd", &["s"]),
    ] {
        assert_eq!(
            names(&cluster.get(&format!("{collection}?fieldSelector={selector}"))),
            wanted,
            "{selector}"
        );
    }
    for (collection, selector, told) in [
        (&pods, "spec.containers%3Dx", "field label not supported: spec.containers"),
        (&maps(namespace), "data.a%3Db", "\\\"data.a\\\" is not a known field selector"),
    ] {
        let refused = cluster.admin.get(&format!("{collection}?fieldSelector={selector}"));
        assert!(refused.code == 400 && refused.text().contains(told), "{}", refused.text());
    }
}

fn compressed(cluster: &Cluster, namespace: &str) {
    let value = "a line of some text\n".repeat(2_000);
    for number in 0..5 {
        let map = json!({"metadata": {"name": format!("large-{number}")}, "data": {"text": value}});
        cluster.create(&maps(namespace), &map);
    }
    cluster
        .until("the root certificate", || !cluster.is_gone(&format!("{}/kube-root-ca.crt", maps(namespace))));
    let plain = cluster.admin.get(&maps(namespace));
    let client = cluster.admin.with("accept-encoding", "gzip");
    let small = client.get(&format!("{}/large-0", maps(namespace)));
    assert_eq!((small.code, small.header("content-encoding")), (200, ""));
    for accept in ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"] {
        let answer = client.with("accept", accept).get(&maps(namespace));
        assert_eq!((answer.code, answer.header("content-encoding")), (200, "gzip"), "{accept}");
        let mut text = Vec::new();
        let read = flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut text);
        read.expect("gzip to its end");
        assert!(text.len() > 200_000 && answer.body.len() < text.len() / 10, "{accept}");
        if accept == "application/json" {
            let list: Value = serde_json::from_slice(&text).expect("JSON");
            assert_eq!(list["items"], plain.json()["items"]);
        }
    }
}

fn kept_by_hash(cluster: &Cluster, _: &str) {
    let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    for (at, accept) in
        [("/api", v2), ("/openapi/v2", "application/json"), ("/openapi/v3/apis/apps/v1", "*/*")]
    {
        let client = cluster.admin.with("accept", accept);
        let first = client.get(at);
        let tag = first.header("etag").to_owned();
        assert!(
            first.code == 200 && tag.len() > 64 && tag.starts_with('"') && tag.ends_with('"'),
            "{at}: {tag}"
        );
        assert!(first.header("vary").contains("Accept"));
        let again = client.with("if-none-match", &tag).get(at);
        assert_eq!((again.code, again.body.len(), again.header("etag")), (304, 0, tag.as_str()), "{at}");
        assert_eq!(client.with("if-none-match", "\"other\"").get(at).code, 200);
    }
    let index = cluster.get("/openapi/v3");
    let address = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("an address");
    let document = cluster.admin.get(address);
    assert_eq!((document.code, document.header("cache-control")), (200, "public, immutable"));
    assert!(document.header("expires").ends_with(" GMT"));
    let moved = cluster.admin.get("/openapi/v3/apis/apps/v1?hash=0");
    assert_eq!((moved.code, moved.header("location")), (301, address));
    // What kubectl asks for first; what has no such form is refused.
    let protobuf = cluster.admin.with("accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf");
    let answer = protobuf.get("/openapi/v2");
    let of = answer.header("content-type");
    assert_eq!((answer.code, of), (200, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"));
    assert!(answer.body.starts_with(b"\x0a\x032.0\x12"), "a message that begins with its version");
    assert_eq!(protobuf.with("if-none-match", answer.header("etag")).get("/openapi/v2").code, 304);
    let unreadable =
        cluster.admin.with("accept", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf");
    assert_eq!(unreadable.get("/openapi/v3/apis/apps/v1").code, 406);
}

fn preconditions(cluster: &Cluster, namespace: &str) {
    let one = format!("{}/a", maps(namespace));
    let made = cluster.create(&maps(namespace), &map("a"));
    let delete = |options: Value| {
        cluster.admin.send("DELETE", &one, "application/json", options.to_string().as_bytes())
    };
    for (options, code, told) in [
        (json!({"preconditions": {"uid": "other"}}), 409, "Precondition failed: UID in precondition: other"),
        (
            json!({"preconditions": {"resourceVersion": "1"}}),
            409,
            "Precondition failed: ResourceVersion in precondition: 1",
        ),
        (json!({"propagationPolicy": "Odd"}), 422, "Unsupported value: \\\"Odd\\\""),
        (json!({"propagationPolicy": "Orphan", "orphanDependents": true}), 422, "cannot be both set"),
        (json!({"dryRun": ["Some"]}), 422, "Unsupported value"),
    ] {
        let answer = delete(options.clone());
        assert!(
            answer.code == code && answer.text().contains(told),
            "{options}: {} {}",
            answer.code,
            answer.text()
        );
    }
    assert_eq!(delete(json!({"dryRun": ["All"]})).code, 200);
    cluster.get(&one);
    let uid = &made["metadata"]["uid"];
    let done = delete(json!({"preconditions": {"uid": uid, "resourceVersion": revision(&made)}}));
    assert_eq!(
        (done.code, &done.json()["status"], &done.json()["details"]["uid"]),
        (200, &json!("Success"), uid)
    );
    assert_eq!(delete(json!({})).code, 404);
}

fn collections(cluster: &Cluster, namespace: &str) {
    for name in ["a", "b", "c", "d"] {
        cluster.create(&maps(namespace), &map(name));
    }
    let hold = json!({"metadata": {"finalizers": ["example.test/hold"]}});
    cluster.merge(&format!("{}/d", maps(namespace)), &hold);
    let selected = format!("{}?labelSelector=of%3Dlists", maps(namespace));
    let dry = cluster.admin.delete(&format!("{selected}&dryRun=All"));
    assert_eq!((dry.code, cluster.items(&selected).len()), (200, 4));
    let gone = cluster.admin.delete(&format!("{selected}&fieldSelector=metadata.name!%3Da"));
    assert_eq!((gone.code, &gone.json()["kind"]), (200, &json!("ConfigMapList")));
    let left = cluster.get(&selected);
    assert_eq!(names(&left), ["a", "d"], "what a finalizer holds stays, and is marked");
    assert!(left["items"][1]["metadata"]["deletionTimestamp"].is_string());
    cluster.merge(&format!("{}/d", maps(namespace)), &json!({"metadata": {"finalizers": null}}));
    cluster.delete(&selected);
    assert!(cluster.items(&selected).is_empty());
}

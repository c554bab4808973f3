//! Lists and watches: pages that stay stable, selectors, WatchList, objects that enter and leave a selection.

use harness::api::{Client, Server, Watch};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, labels: Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}})
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().into_iter().flatten();
    items.map(|item| item["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
}

fn listed(client: &Client, query: &str) -> Vec<String> {
    names(&client.get(&format!("{MAPS}?{query}")).expect(200))
}

fn next(watch: &mut Watch) -> (String, String) {
    watch.next_named()
}

fn event(kind: &str, name: &str) -> (String, String) {
    (kind.into(), name.into())
}

#[test]
fn pages_show_one_moment_whatever_is_written_between_them() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    for number in 0..10 {
        admin.post(MAPS, &map(&format!("m{number}"), json!({}))).expect(201);
    }
    let first = admin.get(&format!("{MAPS}?limit=4")).expect(200);
    assert_eq!(first["metadata"]["remainingItemCount"], 6);
    let mut seen = names(&first);
    let mut next = first["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
    let mut pages = 1;
    while !next.is_empty() {
        // One that was shown goes, one that was not goes, one comes.
        admin.delete(&format!("{MAPS}/m{pages}")).expect(200);
        admin.delete(&format!("{MAPS}/m{}", 9 - pages)).expect(200);
        admin.post(MAPS, &map(&format!("m5{pages}"), json!({}))).expect(201);
        let page = admin.get(&format!("{MAPS}?limit=4&continue={next}")).expect(200);
        assert_eq!(page["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
        seen.extend(names(&page));
        next = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        pages += 1;
    }
    assert_eq!(seen, (0..10).map(|number| format!("m{number}")).collect::<Vec<_>>());
    assert_eq!(pages, 3);
    for (query, code, reason) in [
        ("limit=4&continue=nonsense", 400, "BadRequest"),
        ("resourceVersion=99999999", 504, "Timeout"),
        ("resourceVersion=x", 400, "BadRequest"),
        ("labelSelector=a%20b%20c", 400, "BadRequest"),
        ("fieldSelector=data.a%3Db", 400, "BadRequest"),
    ] {
        admin.get(&format!("{MAPS}?{query}")).refused(code, reason, "");
    }
    let revision = first["metadata"]["resourceVersion"].as_str().unwrap();
    let exact =
        admin.get(&format!("{MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact")).expect(200);
    assert_eq!(names(&exact).len(), 10, "the past as it was");
}

#[test]
fn selectors_choose() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    for (name, labels) in [
        ("a", json!({"app": "web", "tier": "1"})),
        ("b", json!({"app": "web"})),
        ("c", json!({"app": "db"})),
        ("d", json!({})),
    ] {
        admin.post(MAPS, &map(name, labels)).expect(201);
    }
    for (query, expected) in [
        ("labelSelector=app%3Dweb", &["a", "b"][..]),
        ("labelSelector=app%3D%3Dweb,tier", &["a"]),
        ("labelSelector=app!%3Dweb", &["c", "d"]),
        ("labelSelector=app%20in%20(db,web),!tier", &["b", "c"]),
        ("labelSelector=app%20notin%20(db)", &["a", "b", "d"]),
        ("fieldSelector=metadata.name%3Dc", &["c"]),
        ("fieldSelector=metadata.name!%3Dc,metadata.namespace%3Ddefault", &["a", "b", "d"]),
        ("labelSelector=app%3Dweb&fieldSelector=metadata.name%3Db", &["b"]),
    ] {
        assert_eq!(listed(&admin, query), expected, "{query}");
    }
}

#[test]
fn a_watch_sees_objects_enter_and_leave_its_selection() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let revision = admin.get(MAPS).expect(200)["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut watch =
        admin.watch(&format!("{MAPS}?watch=true&resourceVersion={revision}&labelSelector=app%3Dweb"));
    admin.post(MAPS, &map("other", json!({"app": "db"}))).expect(201);
    admin.post(MAPS, &map("m", json!({}))).expect(201);
    let relabel = |app: Value| {
        let patch = json!({"metadata": {"labels": {"app": app}}});
        admin.patch(&format!("{MAPS}/m"), "merge", &patch).expect(200)
    };
    relabel("web".into());
    assert_eq!(next(&mut watch), event("ADDED", "m"));
    admin.patch(&format!("{MAPS}/m"), "merge", &json!({"data": {"a": "b"}})).expect(200);
    assert_eq!(next(&mut watch), event("MODIFIED", "m"));
    let left = relabel(Value::Null);
    let gone = watch.next_event().expect("an event");
    assert_eq!(gone["type"], "DELETED");
    assert_eq!(gone["object"]["metadata"]["labels"]["app"], "web", "as it was when it was in");
    assert_eq!(gone["object"]["metadata"]["resourceVersion"], left["metadata"]["resourceVersion"]);
    relabel("web".into());
    assert_eq!(next(&mut watch), event("ADDED", "m"));
    admin.delete(&format!("{MAPS}/m")).expect(200);
    assert_eq!(next(&mut watch), event("DELETED", "m"));
}

#[test]
fn a_watch_list_ends_its_beginning_with_a_bookmark() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    for name in ["a", "b"] {
        admin.post(MAPS, &map(name, json!({}))).expect(201);
    }
    let query =
        "watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut watch = admin.watch(&format!("{MAPS}?{query}"));
    assert_eq!(next(&mut watch), event("ADDED", "a"));
    assert_eq!(next(&mut watch), event("ADDED", "b"));
    let bookmark = watch.next_event().expect("a bookmark");
    assert_eq!(bookmark["type"], "BOOKMARK", "{bookmark}");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let revision = bookmark["object"]["metadata"]["resourceVersion"].as_str().expect("a revision").to_owned();
    admin.post(MAPS, &map("c", json!({}))).expect(201);
    assert_eq!(next(&mut watch), event("ADDED", "c"));
    let mut again = admin.watch(&format!("{MAPS}?watch=true&resourceVersion={revision}"));
    assert_eq!(next(&mut again), event("ADDED", "c"), "nothing between the bookmark and the next event");
    let mut all = admin.watch(&format!("{MAPS}?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Db"));
    assert_eq!(next(&mut all), event("ADDED", "b"));
    assert!(all.next_event().is_none(), "a watch ends in its time");
    for refused in ["watch=true&sendInitialEvents=true", "sendInitialEvents=true"] {
        let answer = admin.get(&format!("{MAPS}?{refused}"));
        answer.refused(422, "Invalid", "sendInitialEvents");
    }
}

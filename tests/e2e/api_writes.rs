//! Writes: dry runs, field validation, names, preconditions, finalizers, grace, subresources.

use harness::api::{Client, Server};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "b"}})
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}})
}

fn deployment(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}}
        }
    })
}

/// A pod needs its account; without controllers nobody makes it.
fn with_account(server: &Server) -> Client {
    let admin = server.admin();
    let account = json!({"metadata": {"name": "default"}});
    admin.post("/api/v1/namespaces/default/serviceaccounts", &account).expect(201);
    admin.get("/api/v1/serviceaccounts").expect(200);
    admin
}

fn bind(admin: &Client, name: &str) -> harness::api::Answer {
    let target = json!({"apiVersion": "v1", "kind": "Node", "name": "n1"});
    let binding =
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target});
    admin.post(&format!("{PODS}/{name}/binding"), &binding)
}

#[test]
fn a_dry_run_answers_and_stores_nothing() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let made = admin.post(&format!("{MAPS}?dryRun=All"), &map("m")).expect(201);
    assert!(made["metadata"]["uid"].is_string() && made["metadata"]["resourceVersion"].is_null(), "{made}");
    admin.get(&format!("{MAPS}/m")).refused(404, "NotFound", r#"configmaps "m" not found"#);
    let stored = admin.post(MAPS, &map("m")).expect(201);
    admin.post(&format!("{MAPS}?dryRun=All"), &map("m")).refused(409, "AlreadyExists", "already exists");
    let patched =
        admin.patch(&format!("{MAPS}/m?dryRun=All"), "merge", &json!({"data": {"a": "c"}})).expect(200);
    assert_eq!(patched["data"]["a"], "c");
    admin.delete(&format!("{MAPS}/m?dryRun=All")).expect(200);
    assert_eq!(admin.get(&format!("{MAPS}/m")).expect(200), stored);
    admin.post(&format!("{MAPS}?dryRun=Some"), &map("n")).refused(422, "Invalid", "dryRun");
}

#[test]
fn fields_that_do_not_exist_are_refused_warned_of_or_dropped() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let mut object = map("m");
    object["dada"] = json!({"a": "b"});
    admin.post(&format!("{MAPS}?fieldValidation=Strict"), &object).refused(
        400,
        "BadRequest",
        r#"strict decoding error: unknown field "dada""#,
    );
    let warned = admin.post(&format!("{MAPS}?fieldValidation=Warn&dryRun=All"), &object);
    assert_eq!(warned.header("warning"), r#"299 - "unknown field \"dada\"""#);
    let ignored = admin.post(&format!("{MAPS}?fieldValidation=Ignore"), &object);
    assert_eq!((ignored.code, ignored.header("warning")), (201, ""));
    assert!(ignored.json()["dada"].is_null());
    let double = br#"{"metadata": {"name": "n"}, "data": {"a": "1"}, "data": {"a": "2"}}"#;
    let answer = admin.send("POST", &format!("{MAPS}?fieldValidation=Strict"), "application/json", double);
    answer.refused(400, "BadRequest", r#"duplicate field "data""#);
}

#[test]
fn names_are_drawn_and_preconditions_are_kept() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let generated = json!({"metadata": {"generateName": "job-"}});
    let name = |object: Value| object["metadata"]["name"].as_str().expect("a name").to_owned();
    let one = name(admin.post(MAPS, &generated).expect(201));
    let other = name(admin.post(MAPS, &generated).expect(201));
    assert!(one.starts_with("job-") && one.len() == "job-".len() + 5 && one != other, "{one} {other}");
    admin.post(MAPS, &map("Not_A_Name")).refused(422, "Invalid", "a lowercase RFC 1123 subdomain");
    let object = admin.post(MAPS, &map("m")).expect(201);
    let delete = |preconditions: Value| {
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": preconditions});
        admin.send("DELETE", &format!("{MAPS}/m"), "application/json", options.to_string().as_bytes())
    };
    delete(json!({"uid": "other"})).refused(
        409,
        "Conflict",
        "Precondition failed: UID in precondition: other",
    );
    delete(json!({"resourceVersion": "1"})).refused(409, "Conflict", "ResourceVersion in precondition: 1");
    delete(
        json!({"uid": object["metadata"]["uid"], "resourceVersion": object["metadata"]["resourceVersion"]}),
    )
    .expect(200);
    admin.delete(&format!("{MAPS}/m")).refused(404, "NotFound", "");
}

#[test]
fn finalizers_hold_and_collections_go() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let mut held = map("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    admin.post(MAPS, &held).expect(201);
    let going = admin.delete(&format!("{MAPS}/held")).expect(200);
    assert!(going["metadata"]["deletionTimestamp"].is_string(), "{going}");
    let more = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    admin.patch(&format!("{MAPS}/held"), "merge", &more).refused(
        422,
        "Invalid",
        "no new finalizers can be added if the object is being deleted",
    );
    admin.patch(&format!("{MAPS}/held"), "merge", &json!({"metadata": {"finalizers": null}})).expect(200);
    admin.get(&format!("{MAPS}/held")).refused(404, "NotFound", "");
    for name in ["a", "b", "c"] {
        let mut object = map(name);
        object["metadata"]["labels"] = json!({"keep": (name == "c").to_string()});
        admin.post(MAPS, &object).expect(201);
    }
    admin.delete(&format!("{MAPS}?labelSelector=keep%3Dfalse")).expect(200);
    let left = admin.get(MAPS).expect(200);
    assert_eq!(left["items"].as_array().expect("items").len(), 1, "{left}");
}

#[test]
fn a_pod_is_bound_once_and_goes_with_grace() {
    let server = Server::start(PROGRAM);
    let admin = with_account(&server);
    admin.post(PODS, &pod("p")).expect(201);
    bind(&admin, "p").expect(201);
    bind(&admin, "p").refused(409, "Conflict", r#"pod p is already assigned to node "n1""#);
    bind(&admin, "nobody").refused(404, "NotFound", "");
    let bound = admin.get(&format!("{PODS}/p")).expect(200);
    assert_eq!(bound["spec"]["nodeName"], "n1");
    let scheduled = bound["status"]["conditions"].as_array().expect("conditions");
    assert!(scheduled.iter().any(|c| c["type"] == "PodScheduled" && c["status"] == "True"), "{bound}");
    let going = admin.delete(&format!("{PODS}/p")).expect(200);
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 30);
    let again = admin.delete(&format!("{PODS}/p?gracePeriodSeconds=5")).expect(200);
    assert_eq!(again["metadata"]["deletionGracePeriodSeconds"], 5, "shorter, never longer");
    let again = admin.delete(&format!("{PODS}/p?gracePeriodSeconds=60")).expect(200);
    assert_eq!(again["metadata"]["deletionGracePeriodSeconds"], 5);
    admin.delete(&format!("{PODS}/p?gracePeriodSeconds=0")).expect(200);
    admin.get(&format!("{PODS}/p")).refused(404, "NotFound", "");
    admin.post(PODS, &pod("evicted")).expect(201);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "evicted"}, "deleteOptions": {"preconditions": {"uid": "other"}}});
    let path = format!("{PODS}/evicted/eviction");
    admin.post(&path, &eviction).refused(409, "Conflict", "UID in precondition: other");
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "evicted"}});
    assert_eq!(admin.post(&path, &eviction).expect(201)["status"], "Success");
    admin.post(&path, &eviction).refused(404, "NotFound", "");
    admin.post(PODS, &pod("unbound")).expect(201);
    admin.delete(&format!("{PODS}/unbound")).expect(200);
    admin.get(&format!("{PODS}/unbound")).refused(404, "NotFound", "");
}

#[test]
fn status_and_spec_do_not_touch_each_other_and_scale_is_a_window() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let path = format!("{DEPLOYMENTS}/web");
    let mut made = deployment("web");
    made["status"] = json!({"replicas": 9});
    let made = admin.post(DEPLOYMENTS, &made).expect(201);
    assert_eq!((&made["metadata"]["generation"], &made["status"]), (&json!(1), &json!({})));
    let both = json!({"spec": {"replicas": 3}, "status": {"replicas": 2}});
    let object = admin.patch(&path, "merge", &both).expect(200);
    assert_eq!((&object["spec"]["replicas"], &object["status"]), (&json!(3), &json!({})));
    assert_eq!(object["metadata"]["generation"], 2);
    let both = json!({"spec": {"replicas": 7}, "status": {"replicas": 2, "observedGeneration": 2}});
    let object = admin.patch(&format!("{path}/status"), "merge", &both).expect(200);
    assert_eq!((&object["spec"]["replicas"], &object["status"]["replicas"]), (&json!(3), &json!(2)));
    assert_eq!(object["metadata"]["generation"], 2, "a status is no new generation");
    let scale = admin.get(&format!("{path}/scale")).expect(200);
    assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["replicas"]), (&json!(3), &json!(2)));
    assert_eq!(scale["status"]["selector"], "app=web");
    let mut wanted = scale.clone();
    wanted["spec"]["replicas"] = json!(5);
    admin.put(&format!("{path}/scale"), &wanted).expect(200);
    admin.put(&format!("{path}/scale"), &wanted).refused(409, "Conflict", "the object has been modified");
    wanted["spec"]["replicas"] = json!(-1);
    wanted["metadata"]["resourceVersion"] = Value::Null;
    admin.put(&format!("{path}/scale"), &wanted).refused(
        422,
        "Invalid",
        "must be greater than or equal to 0",
    );
    assert_eq!(admin.get(&path).expect(200)["spec"]["replicas"], 5);
}

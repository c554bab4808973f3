//! Server-side apply without kubectl: rights, doors, versions, and two appliers at once.

use harness::api::{Client, Server};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

fn apply(client: &Client, path: &str, query: &str, config: &Value) -> harness::api::Answer {
    let path = format!("{path}?{query}");
    client.send("PATCH", &path, "application/apply-patch+yaml", config.to_string().as_bytes())
}

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

#[test]
fn an_apply_makes_what_is_not_there_where_that_is_allowed() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let path = format!("{MAPS}/m");
    apply(&admin, &path, "", &map("m", json!({}))).refused(422, "Invalid", "is required for apply patch");
    apply(&admin, &path, "fieldManager=a", &map("n", json!({}))).refused(400, "BadRequest", "name");
    let other = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "m"}});
    apply(&admin, &path, "fieldManager=a", &other).refused(400, "BadRequest", "Kind=Secret");
    let dry = apply(&admin, &path, "fieldManager=a&dryRun=All", &map("m", json!({"x": "1"}))).expect(201);
    assert_eq!(dry["data"]["x"], "1");
    admin.get(&path).refused(404, "NotFound", "");
    // Who may patch may not therefore create.
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}]);
    let role = json!({"metadata": {"name": "patcher"}, "rules": rules});
    admin.post(&format!("{RBAC}/clusterroles"), &role).expect(201);
    let binding = json!({
        "metadata": {"name": "patcher"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "patcher"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]
    });
    admin.post(&format!("{RBAC}/clusterrolebindings"), &binding).expect(201);
    admin.get(&format!("{RBAC}/clusterrolebindings")).expect(200);
    let jane = admin.with("impersonate-user", "jane");
    let wanted = map("m", json!({"x": "1"}));
    apply(&jane, &path, "fieldManager=jane", &wanted).refused(
        403,
        "Forbidden",
        r#"User "jane" cannot create"#,
    );
    let made = apply(&admin, &path, "fieldManager=a", &wanted).expect(201);
    assert_eq!(made["metadata"]["managedFields"][0]["manager"], "a");
    let same = apply(&admin, &path, "fieldManager=a", &wanted).expect(200);
    assert_eq!(same, made, "nothing changed");
    let shared = apply(&jane, &path, "fieldManager=jane", &wanted).expect(200);
    assert_eq!(shared["metadata"]["managedFields"].as_array().map(Vec::len), Some(2));
    let mut stale = map("m", json!({"x": "1", "y": "2"}));
    stale["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"].clone();
    apply(&admin, &path, "fieldManager=a", &stale).refused(409, "Conflict", "the object has been modified");
}

#[test]
fn status_is_another_door() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let path = format!("{DEPLOYMENTS}/web");
    let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}},
        "status": {"replicas": 9}});
    let made = apply(&admin, &path, "fieldManager=a", &config).expect(201);
    assert_eq!((&made["status"], &made["metadata"]["generation"]), (&json!({}), &json!(1)));
    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"x": "y"}},
        "spec": {"replicas": 7}, "status": {"replicas": 2}});
    let object = apply(&admin, &format!("{path}/status"), "fieldManager=c", &status).expect(200);
    assert_eq!((&object["spec"]["replicas"], &object["status"]["replicas"]), (&json!(1), &json!(2)));
    let entries = object["metadata"]["managedFields"].as_array().expect("owners");
    let of = |name: &str| entries.iter().find(|entry| entry["manager"] == name).expect("an owner");
    assert!(of("a")["fieldsV1"].get("f:status").is_none(), "{object}");
    assert_eq!(of("c")["fieldsV1"], json!({"f:status": {"f:replicas": {}}}));
    assert_eq!(of("c")["subresource"], "status");
    apply(
        &admin,
        &format!("{DEPLOYMENTS}/gone/status"),
        "fieldManager=c",
        &json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "gone"}}),
    )
    .refused(404, "NotFound", "");
}

#[test]
fn many_appliers_at_once_lose_nothing() {
    const APPLIERS: usize = 6;
    const EACH: usize = 20;
    let server = Server::start(PROGRAM);
    let path = format!("{MAPS}/shared");
    std::thread::scope(|scope| {
        for applier in 0..APPLIERS {
            let (server, path) = (&server, &path);
            scope.spawn(move || {
                let client = server.admin();
                for turn in 0..EACH {
                    let data = json!({format!("key-{applier}"): turn.to_string()});
                    let answer =
                        apply(&client, path, &format!("fieldManager=m{applier}"), &map("shared", data));
                    assert!(matches!(answer.code, 200 | 201), "{}", answer.text());
                }
            });
        }
    });
    let object = server.admin().get(&path).expect(200);
    let last = (EACH - 1).to_string();
    let data = object["data"].as_object().expect("data");
    assert!(data.len() == APPLIERS && data.values().all(|value| *value == last), "{object}");
    assert_eq!(object["metadata"]["managedFields"].as_array().map(Vec::len), Some(APPLIERS));
}

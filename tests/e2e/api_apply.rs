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

/// Who owns what: manager, version and fields of each entry.
fn owners(object: &Value) -> Vec<(String, String, Value)> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let told = |entry: Value| {
        (text(&entry, "manager"), text(&entry, "apiVersion"), entry["fieldsV1"]["f:spec"].clone())
    };
    entries.into_iter().map(told).collect()
}

#[test]
fn owners_keep_the_version_they_wrote_in() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let at =
        |version: &str| format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers/h");
    let scaler = |version: &str, spec: Value| {
        let mut config = json!({"apiVersion": format!("autoscaling/{version}"), "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "h"}, "spec": spec});
        config["spec"]["scaleTargetRef"] = json!({"kind": "Deployment", "name": "d"});
        config
    };
    let cpu = |percent: i64| {
        json!([{"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": percent}}}])
    };
    let newer = scaler("v2", json!({"minReplicas": 2, "maxReplicas": 5, "metrics": cpu(80)}));
    apply(&admin, &at("v2"), "fieldManager=a", &newer).expect(201);
    let other = scaler("v1", json!({"maxReplicas": 5, "targetCPUUtilizationPercentage": 50}));
    apply(&admin, &at("v1"), "fieldManager=b", &other).refused(
        409,
        "Conflict",
        r#"conflict with "a": .spec.metrics"#,
    );
    let same = scaler("v1", json!({"maxReplicas": 5, "targetCPUUtilizationPercentage": 80}));
    let shared = apply(&admin, &at("v1"), "fieldManager=b", &same).expect(200);
    let versions: Vec<(String, String)> =
        owners(&shared).into_iter().map(|(who, version, _)| (who, version)).collect();
    let pair = |who: &str, version: &str| (who.to_owned(), version.to_owned());
    assert_eq!(versions, [pair("a", "autoscaling/v2"), pair("b", "autoscaling/v1")]);
    // The first one lets go of it, in its own version: the other still wants it.
    let less = scaler("v2", json!({"minReplicas": 2, "maxReplicas": 5}));
    assert_eq!(apply(&admin, &at("v2"), "fieldManager=a", &less).expect(200)["spec"]["metrics"], cpu(80));
    // It goes on in the older version, without a conflict with itself, and what it does not want any more goes.
    let again = apply(&admin, &at("v1"), "fieldManager=a", &same).expect(200);
    assert_eq!((&again["spec"]["targetCPUUtilizationPercentage"], owners(&again).len()), (&json!(80), 2));
    assert_eq!(again["spec"]["minReplicas"], 1, "the default again");
    let force = apply(
        &admin,
        &at("v2"),
        "fieldManager=c&force=true",
        &scaler("v2", json!({"maxReplicas": 5, "metrics": cpu(10)})),
    );
    let taken = owners(&force.expect(200));
    for (who, version, fields) in &taken {
        let field =
            if version == "autoscaling/v1" { "f:targetCPUUtilizationPercentage" } else { "f:metrics" };
        assert_eq!(fields.get(field).is_some(), who == "c", "{taken:?}");
    }
}

#[test]
fn an_applier_of_a_custom_kind_changes_versions() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}}}});
    let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": schema});
    let definition = json!({"metadata": {"name": "things.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
        "versions": [version("v1beta1", false), version("v1", true)]}});
    admin.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).expect(201);
    let at = |version: &str| format!("/apis/example.com/{version}/namespaces/default/things/t");
    let thing = |version: &str, spec: Value| {
        json!({"apiVersion": format!("example.com/{version}"), "kind": "Thing",
        "metadata": {"name": "t"}, "spec": spec})
    };
    let begun = std::time::Instant::now();
    while admin.get("/apis/example.com/v1/things").code != 200 {
        assert!(begun.elapsed().as_secs() < 120, "the definition is not served");
    }
    apply(&admin, &at("v1beta1"), "fieldManager=a", &thing("v1beta1", json!({"a": "1", "b": "1"})))
        .expect(201);
    let moved = apply(&admin, &at("v1"), "fieldManager=a", &thing("v1", json!({"a": "2"}))).expect(200);
    assert_eq!(moved["spec"], json!({"a": "2"}), "no conflict with itself, and the other field goes");
    let owner = ("a".to_owned(), "example.com/v1".to_owned(), json!({"f:a": {}}));
    assert_eq!(owners(&moved), [owner]);
    let refused = apply(&admin, &at("v1beta1"), "fieldManager=b", &thing("v1beta1", json!({"a": "3"})));
    refused.refused(409, "Conflict", r#"conflict with "a": .spec.a"#);
}

//! A node's credential in foreign hands: what it reads and changes is its own, with a real API server.

use harness::api::{Client, Credential, Server};
use pki::{Authority, Profile, Usage};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
const PODS: &str = "/api/v1/namespaces/default/pods";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

fn node(server: &Server, name: &str) -> Client {
    let read = |name: &str| std::fs::read_to_string(server.data().join("pki").join(name)).expect(name);
    let authority = Authority::from_pem("ca", &read("ca.crt"), &read("ca.key")).expect("the authority");
    let profile = Profile {
        common_name: format!("system:node:{name}"),
        organization: Some("system:nodes".into()),
        names: vec![],
        usage: Usage::Client,
        lifetime_seconds: 3600,
    };
    let made = authority.issue(&profile, jiff::Timestamp::now().as_second()).expect("a certificate");
    server.client(Credential::Certificate {
        chain: made.certificate_pem.clone(),
        key: made.key_pem().to_owned(),
    })
}

fn object(name: &str, more: Value) -> Value {
    let mut object = json!({"metadata": {"name": name}});
    object.as_object_mut().expect("a map").extend(more.as_object().cloned().unwrap_or_default());
    object
}

/// A pod that is bound already and reads a secret and a configMap of its own name.
fn pod(admin: &Client, name: &str, on: &str) -> Value {
    for (plural, data) in
        [("secrets", json!({"stringData": {"k": "v"}})), ("configmaps", json!({"data": {"k": "v"}}))]
    {
        admin.post(&format!("/api/v1/namespaces/default/{plural}"), &object(name, data)).expect(201);
    }
    admin.post("/api/v1/namespaces/default/serviceaccounts", &object(name, json!({}))).expect(201);
    let spec = json!({
        "nodeName": on, "serviceAccountName": name,
        "containers": [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": name}}]}],
        "volumes": [{"name": "v", "configMap": {"name": name}}],
    });
    admin.post(PODS, &object(name, json!({"spec": spec}))).expect(201)
}

#[test]
fn a_node_is_confined_to_its_own() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    // No controller runs here.
    admin.post("/api/v1/namespaces/default/serviceaccounts", &object("default", json!({}))).expect(201);
    let (mine, theirs) = (node(&server, "mine"), node(&server, "theirs"));
    mine.post("/api/v1/nodes", &object("mine", json!({}))).expect(201);
    theirs.post("/api/v1/nodes", &object("theirs", json!({}))).expect(201);
    let own = pod(&admin, "own", "mine");
    pod(&admin, "other", "theirs");
    // A list without a revision is as new as everything acknowledged before it.
    admin.get(PODS).expect(200);

    let forbidden = |answer: harness::api::Answer, part: &str| drop(answer.refused(403, "Forbidden", part));
    mine.get("/api/v1/nodes/mine").expect(200);
    forbidden(mine.get("/api/v1/nodes"), "node 'mine' cannot read all nodes, only its own Node object");
    forbidden(mine.get("/api/v1/nodes/theirs"), "node 'mine' cannot read 'theirs', only its own Node object");
    let list = mine.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dmine").expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list}");
    forbidden(mine.get("/api/v1/pods"), "can only list/watch pods with spec.nodeName field selector");
    forbidden(mine.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dtheirs"), "can only list/watch pods with");
    let unrelated = "no relationship found between node 'mine' and this object";
    for plural in ["pods", "secrets", "configmaps", "serviceaccounts"] {
        let path = format!("/api/v1/namespaces/default/{plural}");
        mine.get(&format!("{path}/own")).expect(200);
        forbidden(mine.get(&format!("{path}/other")), unrelated);
    }
    forbidden(mine.get("/api/v1/namespaces/default/secrets"), "No Object name found");
    mine.get("/api/v1/namespaces/default/secrets?fieldSelector=metadata.name%3Down").expect(200);

    let token = |account: &str, bound: Value| {
        let request = json!({"spec": {"boundObjectRef": bound}});
        mine.post(&format!("/api/v1/namespaces/default/serviceaccounts/{account}/token"), &request)
    };
    let reference =
        |name: &str, uid: &Value| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid});
    token("own", reference("own", &own["metadata"]["uid"])).expect(201);
    forbidden(token("own", Value::Null), "node requested token not bound to a pod");
    forbidden(token("own", reference("own", &"".into())), "a pod binding without a uid");
    forbidden(token("own", reference("own", &"x".into())), "does not match the UID in record");
    forbidden(token("other", reference("own", &own["metadata"]["uid"])), unrelated);

    let status = json!({"status": {"phase": "Running"}});
    mine.patch(&format!("{PODS}/own/status"), "merge", &status).expect(200);
    let words = "node \"mine\" can only update pod status for pods with spec.nodeName set to itself";
    forbidden(mine.patch(&format!("{PODS}/other/status"), "merge", &status), words);
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    forbidden(mine.patch(&format!("{PODS}/own"), "merge", &labels), "cannot patch resource \"pods\"");
    forbidden(mine.delete(&format!("{PODS}/other")), "can only delete pods with spec.nodeName set to itself");
    forbidden(
        mine.post(&format!("{PODS}/other/eviction"), &object("other", json!({}))),
        "node mine can only evict pods with spec.nodeName set to itself",
    );
    let naked = object(
        "mine-too",
        json!({"spec": {"nodeName": "mine", "containers": [{"name": "c", "image": "i"}]}}),
    );
    forbidden(mine.post(PODS, &naked), "pod does not have \"kubernetes.io/config.mirror\" annotation");
    forbidden(
        mine.post(&format!("{PODS}/own/exec?command=id&stdout=1"), &json!({})),
        "cannot create resource \"pods/exec\"",
    );
    mine.delete(&format!("{PODS}/own")).expect(200);

    let patch = |path: &str, change: Value| mine.patch(path, "merge", &change);
    patch("/api/v1/nodes/mine/status", json!({"status": {"phase": "Running"}})).expect(200);
    forbidden(
        patch("/api/v1/nodes/theirs/status", json!({"status": {}})),
        "is not allowed to modify node \"theirs\"",
    );
    patch("/api/v1/nodes/mine", json!({"metadata": {"labels": {"rack": "7"}}})).expect(200);
    let steering = json!({"metadata": {"labels": {"node-restriction.kubernetes.io/fips": "true"}}});
    forbidden(
        patch("/api/v1/nodes/mine", steering),
        "is not allowed to modify labels: node-restriction.kubernetes.io/fips",
    );
    forbidden(
        patch("/api/v1/nodes/mine", json!({"spec": {"taints": null}})),
        "is not allowed to modify taints",
    );
    forbidden(mine.delete("/api/v1/nodes/mine"), "cannot delete resource \"nodes\"");

    let lease = |name: &str| object(name, json!({"spec": {"holderIdentity": name}}));
    mine.post(LEASES, &lease("mine")).expect(201);
    forbidden(mine.post(LEASES, &lease("theirs")), "can only access node lease with the same name");
    forbidden(mine.get(&format!("{LEASES}/theirs")), "can only access node lease with the same name");
    let elsewhere = LEASES.replace("kube-node-lease", "kube-system");
    forbidden(
        mine.post(&elsewhere, &lease("mine")),
        "can only access leases in the \"kube-node-lease\" system namespace",
    );
    forbidden(mine.get("/apis/apps/v1/deployments"), "cannot list resource \"deployments\"");
    mine.get("/api/v1/services").expect(200);
}

#[test]
fn who_may_look_may_not_run() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    admin.post("/api/v1/namespaces/default/serviceaccounts", &object("default", json!({}))).expect(201);
    admin.post("/api/v1/nodes", &object("far", json!({}))).expect(201);
    let rules = json!([{"apiGroups": [""], "resources": ["pods", "pods/exec", "pods/log", "nodes/proxy"], "verbs": ["get"]}]);
    let roles = "/apis/rbac.authorization.k8s.io/v1";
    admin.post(&format!("{roles}/clusterroles"), &object("look", json!({"rules": rules}))).expect(201);
    let reference = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "look"});
    let subjects = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]);
    let binding = object("look", json!({"roleRef": reference, "subjects": subjects}));
    admin.post(&format!("{roles}/clusterrolebindings"), &binding).expect(201);
    let spec = |node: &str| json!({"spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}});
    admin.post(PODS, &object("here", spec("far"))).expect(201);
    let mut waiting = spec("");
    waiting["spec"].as_object_mut().expect("a map").remove("nodeName");
    admin.post(PODS, &object("waiting", waiting)).expect(201);
    admin.get(&format!("{roles}/clusterrolebindings")).expect(200);

    let jane = admin.with("impersonate-user", "jane");
    let exec = format!("{PODS}/here/exec?command=id&stdout=1");
    jane.get(&exec).refused(403, "Forbidden", "User \"jane\" cannot create resource \"pods/exec\"");
    // A WebSocket to the kubelet would be an exec, too.
    let upgrade = jane.with("connection", "upgrade").with("upgrade", "websocket");
    let through = "/api/v1/nodes/far/proxy/exec/default/here/c?command=id&output=1";
    upgrade.get(through).refused(403, "Forbidden", "User \"jane\" cannot create resource \"nodes/proxy\"");
    let log = jane.get(&format!("{PODS}/here/log"));
    assert_eq!(
        (log.code, log.json()["message"].as_str()),
        (500, Some("no preferred addresses found; known addresses: []"))
    );
    assert_eq!(jane.get(&format!("{PODS}/waiting/log")).code, 204);
    let exec = |pod: &str| format!("{PODS}/{pod}/exec?command=id&stdout=1");
    admin.get(&exec("waiting")).refused(400, "BadRequest", "pod waiting does not have a host assigned");
    admin.get(&exec("nobody")).refused(404, "NotFound", "pods \"nobody\" not found");
}

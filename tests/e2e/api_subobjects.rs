//! What is posted to a subresource with a kind of its own: webhooks and policies are asked about that, and a pod gets its node
//! as upstream gives it.

use harness::api::Server;
use harness::webhook::Webhook;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
const PODS: &str = "/api/v1/namespaces/default/pods";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "example.test/pause:1"}],
        "automountServiceAccountToken": false}})
}

fn binding(name: &str, node: &str) -> Value {
    json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": node}})
}

fn answer(question: &Value, patch: Option<Value>) -> Value {
    let mut response = json!({"uid": question["request"]["uid"], "allowed": true});
    if let Some(patch) = patch {
        response["patchType"] = "JSONPatch".into();
        response["patch"] = harness::webhook::base64(&patch.to_string()).into();
    }
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
}

/// Changes what it is asked about where it can tell what it is.
fn changed(question: &Value) -> Value {
    let patch = match question["request"]["object"]["kind"].as_str() {
        Some("Scale") => Some(json!([{"op": "replace", "path": "/spec/replicas", "value": 7}])),
        Some("Binding") => {
            Some(json!([{"op": "add", "path": "/metadata/annotations", "value": {"asked": "yes"}}]))
        }
        Some("TokenRequest") => {
            Some(json!([{"op": "replace", "path": "/spec/expirationSeconds", "value": 1200}]))
        }
        _ => None,
    };
    answer(question, patch)
}

#[test]
fn webhooks_see_what_was_posted_to_a_subresource() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    // No controllers here.
    admin.post(ACCOUNTS, &json!({"metadata": {"name": "default"}})).expect(201);
    let hook = Webhook::start(changed);
    let rule = |group: &str, resources: &[&str]| json!({"operations": ["*"], "apiGroups": [group], "apiVersions": ["v1"], "resources": resources});
    let configuration = json!({"metadata": {"name": "subs"}, "webhooks": [{"name": "subs.example.com",
        "clientConfig": hook.client_config(), "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": [rule("", &["pods/binding", "pods/eviction", "serviceaccounts/token"]), rule("apps", &["deployments/scale"])]}]});
    admin.post("/api/v1/nodes", &json!({"metadata": {"name": "n"}})).expect(201);
    admin.post(PODS, &pod("p")).expect(201);
    let labels = json!({"app": "d"});
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 1, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod("d")["spec"]}}});
    admin.post(DEPLOYMENTS, &deployment).expect(201);
    admin.post(ACCOUNTS, &json!({"metadata": {"name": "robot"}})).expect(201);
    admin.post(&format!("{ADMISSION}/mutatingwebhookconfigurations"), &configuration).expect(201);
    admin.get(&format!("{ADMISSION}/mutatingwebhookconfigurations")).expect(200);

    let scaled = admin.patch(&format!("{DEPLOYMENTS}/d/scale"), "merge", &json!({"spec": {"replicas": 3}}));
    assert_eq!(scaled.expect(200)["spec"]["replicas"], 7);
    admin.post(&format!("{PODS}/p/binding"), &binding("p", "n")).expect(201);
    let bound = admin.get(&format!("{PODS}/p")).expect(200);
    assert_eq!(bound["metadata"]["annotations"]["asked"], "yes");
    let asked = json!({"spec": {"audiences": ["a"], "expirationSeconds": 600}});
    let token = admin.post(&format!("{ACCOUNTS}/robot/token"), &asked).expect(201);
    assert_eq!(token["spec"]["expirationSeconds"], 1200);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    admin.post(&format!("{PODS}/p/eviction?dryRun=All"), &eviction).expect(201);

    let asked = hook.asked();
    let seen: Vec<Value> = asked
        .iter()
        .map(|asked| {
            let request = &asked["request"];
            json!([
                request["operation"],
                request["kind"]["group"],
                request["kind"]["kind"],
                request["resource"]["resource"],
                request["subResource"],
                request["name"],
                request["object"]["kind"],
                request["dryRun"]
            ])
        })
        .collect();
    let expect = [
        json!(["UPDATE", "autoscaling", "Scale", "deployments", "scale", "d", "Scale", false]),
        json!(["CREATE", "", "Binding", "pods", "binding", "p", "Binding", false]),
        json!([
            "CREATE",
            "authentication.k8s.io",
            "TokenRequest",
            "serviceaccounts",
            "token",
            "robot",
            "TokenRequest",
            false
        ]),
        json!(["CREATE", "policy", "Eviction", "pods", "eviction", "p", "Eviction", true]),
    ];
    assert_eq!(seen, expect, "once each, and never about what lies behind");
    assert_eq!(asked[0]["request"]["oldObject"]["spec"]["replicas"], 1);
    assert_eq!(asked[0]["request"]["oldObject"]["kind"], "Scale");
}

#[test]
fn policies_see_what_was_posted_to_a_subresource() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    // No controllers here.
    admin.post(ACCOUNTS, &json!({"metadata": {"name": "default"}})).expect(201);
    admin.post(PODS, &pod("p")).expect(201);
    let policy = json!({"metadata": {"name": "stay"}, "spec": {"matchConstraints": {"resourceRules": [
            {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/eviction"]}]},
        "validations": [{"expression": "request.kind.kind != 'Eviction' || object.metadata.name != 'p'", "message": "p stays"}]}});
    admin.post(&format!("{ADMISSION}/validatingadmissionpolicies"), &policy).expect(201);
    let bound =
        json!({"metadata": {"name": "stay"}, "spec": {"policyName": "stay", "validationActions": ["Deny"]}});
    admin.post(&format!("{ADMISSION}/validatingadmissionpolicybindings"), &bound).expect(201);
    admin.get(&format!("{ADMISSION}/validatingadmissionpolicybindings")).expect(200);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    admin.post(&format!("{PODS}/p/eviction"), &eviction).refused(422, "Invalid", "denied request: p stays");
    admin.get(&format!("{PODS}/p")).expect(200);
}

#[test]
fn a_pod_gets_its_node_and_where_that_is() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    // No controllers here.
    admin.post(ACCOUNTS, &json!({"metadata": {"name": "default"}})).expect(201);
    let (zone, region) = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region");
    let labels = json!({zone: "z1", region: "r1", "other": "o"});
    admin.post("/api/v1/nodes", &json!({"metadata": {"name": "n", "labels": labels}})).expect(201);
    for name in ["p", "q"] {
        admin.post(PODS, &pod(name)).expect(201);
    }
    let wrong = |target: Value| json!({"metadata": {"name": "p"}, "target": target});
    admin.post(&format!("{PODS}/p/binding"), &wrong(json!({"kind": "Host", "name": "n"}))).refused(
        422,
        "Invalid",
        r#"target.kind: Unsupported value: "Host": supported values: "Node", "<empty>""#,
    );
    admin.post(&format!("{PODS}/p/binding"), &binding("p", "n")).expect(201);
    // The older path names the pod in the body alone; its plugin looks at the newer one only.
    let old = "/api/v1/namespaces/default/bindings";
    admin.post(old, &binding("q", "n")).expect(201);
    admin.post(old, &binding("q", "n")).refused(409, "Conflict", "pod q is already assigned to node \"n\"");
    admin.post(old, &binding("none", "n")).refused(404, "NotFound", "pods \"none\" not found");
    let bound = admin.get(&format!("{PODS}/p")).expect(200);
    assert_eq!(bound["metadata"]["labels"], json!({zone: "z1", region: "r1"}));
    assert_eq!(bound["metadata"]["generation"], 1, "nobody asked for anything else");
    let scheduled = &bound["status"]["conditions"][0];
    assert_eq!((&scheduled["type"], &scheduled["observedGeneration"]), (&json!("PodScheduled"), &json!(1)));
    assert_eq!(admin.get(&format!("{PODS}/q")).expect(200)["spec"]["nodeName"], "n");
    // Its token tells where it runs.
    let asked = json!({"spec": {"audiences": [], "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p"}}});
    let token = admin.post(&format!("{ACCOUNTS}/default/token"), &asked).expect(201);
    let review = json!({"spec": {"token": token["status"]["token"]}});
    let review = admin.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).expect(201);
    let extra = &review["status"]["user"]["extra"];
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], json!(["p"]), "{review}");
    assert_eq!(extra["authentication.kubernetes.io/node-name"], json!(["n"]));
    let mut placed = pod("r");
    placed["spec"]["nodeName"] = "n".into();
    assert_eq!(
        admin.post(PODS, &placed).expect(201)["metadata"]["labels"],
        json!({zone: "z1", region: "r1"})
    );
}

//! Who may: 401 for credentials that are not good, 403 in upstream's words, tokens, impersonation, escalation.

use harness::api::{Client, Credential, Server};
use pki::{Authority, BoundTo, Claims, Kubernetes, Profile, TokenKey, TokenKeys, Usage};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn authority(server: &Server) -> Authority {
    let read = |name: &str| std::fs::read_to_string(server.data().join("pki").join(name)).expect(name);
    Authority::from_pem("ca", &read("ca.crt"), &read("ca.key")).expect("the cluster's authority")
}

fn certificate(authority: &Authority, name: &str, group: Option<&str>, made: i64) -> Credential {
    let profile = Profile {
        common_name: name.into(),
        organization: group.map(str::to_owned),
        names: vec![],
        usage: Usage::Client,
        lifetime_seconds: 3600,
    };
    let made = authority.issue(&profile, made).expect("a certificate");
    Credential::Certificate { chain: made.certificate_pem.clone(), key: made.key_pem().to_owned() }
}

fn user(server: &Server, name: &str) -> Client {
    server.client(certificate(&authority(server), name, None, now()))
}

fn account(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
}

fn token(admin: &Client, name: &str, spec: Value) -> harness::api::Answer {
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    admin.post(&format!("{ACCOUNTS}/{name}/token"), &request)
}

/// Makes a role and a binding of it, and waits until the authorizer has seen them.
fn grant(admin: &Client, name: &str, subject: &str, rules: Value) {
    let role = json!({"metadata": {"name": name}, "rules": rules});
    admin.post(&format!("{RBAC}/clusterroles"), &role).expect(201);
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": subject}]
    });
    admin.post(&format!("{RBAC}/clusterrolebindings"), &binding).expect(201);
    // A list without a revision is as new as everything acknowledged before it.
    admin.get(&format!("{RBAC}/clusterrolebindings")).expect(200);
}

#[test]
fn credentials_that_are_not_good_are_401() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let path = "/api/v1/namespaces/default/pods";
    let refused = |what: &str, credential: Credential| {
        let answer = server.client(credential).get(path);
        assert_eq!(answer.code, 401, "{what}: {}", answer.text());
        answer.refused(401, "Unauthorized", "Unauthorized");
    };
    let foreign = Authority::create("keelson", now()).expect("an authority");
    refused("expired", certificate(&authority(&server), "u", Some("system:masters"), now() - 86_400));
    refused("foreign", certificate(&foreign, "u", Some("system:masters"), now()));
    admin.post(ACCOUNTS, &account("robot")).expect(201);
    let made = token(&admin, "robot", json!({})).expect(201);
    let good = made["status"]["token"].as_str().expect("a token").to_owned();
    server.client(Credential::Token(good.clone())).get(path).refused(403, "Forbidden", "cannot list");
    let (head, signature) = good.rsplit_once('.').expect("three parts");
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    refused("forged", Credential::Token(format!("{head}.{flipped}{}", &signature[1..])));
    refused("malformed", Credential::Token("not-a-token".into()));
    admin.delete(&format!("{ACCOUNTS}/robot")).expect(200);
    refused("deleted account", Credential::Token(good.clone()));
    admin.post(ACCOUNTS, &account("robot")).expect(201);
    refused("another account of that name", Credential::Token(good));
    let audience = token(&admin, "robot", json!({"audiences": ["elsewhere"]})).expect(201);
    refused("other audience", Credential::Token(audience["status"]["token"].as_str().unwrap().into()));
}

#[test]
fn a_token_is_good_for_its_time_and_from_our_key_alone() {
    const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let made = admin.post(ACCOUNTS, &account("robot")).expect(201);
    let uid = made["metadata"]["uid"].as_str().map(str::to_owned);
    let token = |key: TokenKey, age: i64| {
        let claims = Claims {
            aud: vec![ISSUER.into()],
            exp: now() - age + 3600,
            iat: now() - age,
            nbf: now() - age,
            iss: String::new(),
            jti: None,
            kubernetes: Kubernetes {
                namespace: "default".into(),
                serviceaccount: BoundTo { name: "robot".into(), uid: uid.clone() },
                ..Kubernetes::default()
            },
            sub: "system:serviceaccount:default:robot".into(),
        };
        let keys = TokenKeys::new(ISSUER, &[key]).expect("keys");
        server.client(Credential::Token(keys.sign(claims).expect("a token")))
    };
    let ours = || {
        let pem = std::fs::read_to_string(server.data().join("pki/sa.key")).expect("the key");
        TokenKey::from_pem(&pem).expect("a key")
    };
    let path = "/api/v1/namespaces/default/pods";
    token(ours(), 0).get(path).refused(403, "Forbidden", "system:serviceaccount:default:robot");
    token(ours(), 3600 + 120).get(path).refused(401, "Unauthorized", "Unauthorized");
    token(ours(), -600).get(path).refused(401, "Unauthorized", "Unauthorized");
    token(TokenKey::create().expect("a key"), 0).get(path).refused(401, "Unauthorized", "Unauthorized");
}

#[test]
fn who_may_not_is_told_in_upstreams_words() {
    let server = Server::start(PROGRAM);
    for (client, path, message) in [
        (
            user(&server, "jane"),
            "/api/v1/namespaces/default/pods",
            r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default""#,
        ),
        (
            user(&server, "jane"),
            "/apis/apps/v1/namespaces/default/deployments/web",
            r#"deployments.apps "web" is forbidden: User "jane" cannot get resource "deployments" in API group "apps" in the namespace "default""#,
        ),
        (
            user(&server, "jane"),
            "/api/v1/nodes",
            r#"nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope"#,
        ),
        (
            server.client(Credential::None),
            "/api/v1/nodes",
            r#"nodes is forbidden: User "system:anonymous" cannot list resource "nodes" in API group "" at the cluster scope"#,
        ),
        (
            server.client(Credential::None),
            "/apis",
            r#"forbidden: User "system:anonymous" cannot get path "/apis""#,
        ),
    ] {
        let status = client.get(path).refused(403, "Forbidden", "");
        assert_eq!(status["message"], message, "{path}");
    }
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(server.client(Credential::None).get(path).code, 200, "{path}");
    }
}

#[test]
fn tokens_are_bounded_and_bound() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    admin.post(ACCOUNTS, &account("robot")).expect(201);
    token(&admin, "robot", json!({"expirationSeconds": 599})).refused(
        422,
        "Invalid",
        "may not specify a duration less than 10 minutes",
    );
    token(&admin, "nobody", json!({})).refused(404, "NotFound", r#"serviceaccounts "nobody" not found"#);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    let secret = admin.post("/api/v1/namespaces/default/secrets", &secret).expect(201);
    let bound = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "s", "uid": secret["metadata"]["uid"]}});
    let made = token(&admin, "robot", bound).expect(201);
    let robot = server.client(Credential::Token(made["status"]["token"].as_str().unwrap().into()));
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let me = robot.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).expect(201);
    assert_eq!(me["status"]["userInfo"]["username"], "system:serviceaccount:default:robot");
    admin.delete("/api/v1/namespaces/default/secrets/s").expect(200);
    robot.get("/api").refused(401, "Unauthorized", "");
}

#[test]
fn some_may_act_as_others_and_ask_what_they_may() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let pods = "/api/v1/namespaces/default/pods";
    let as_jane = admin.with("impersonate-user", "jane");
    as_jane.get(pods).refused(403, "Forbidden", r#"User "jane" cannot list"#);
    user(&server, "joe").with("impersonate-user", "jane").get(pods).refused(
        403,
        "Forbidden",
        r#"users "jane" is forbidden: User "joe" cannot impersonate resource "users""#,
    );
    admin.with("impersonate-group", "system:masters").get(pods).refused(
        400,
        "BadRequest",
        "without impersonating a user",
    );
    let may = |client: &Client, verb: &str| {
        let ask = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"namespace": "default", "verb": verb, "resource": "pods"}}
        });
        client.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &ask).expect(201)["status"]
            .clone()
    };
    assert_eq!(may(&as_jane, "get"), json!({"allowed": false}));
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]);
    grant(&admin, "pod-reader", "jane", rules);
    let status = may(&as_jane, "get");
    assert_eq!(status["allowed"], true);
    assert_eq!(
        status["reason"],
        r#"RBAC: allowed by ClusterRoleBinding "pod-reader" of ClusterRole "pod-reader" to User "jane""#
    );
    assert_eq!(may(&as_jane, "delete")["allowed"], false);
    as_jane.get(pods).expect(200);
}

#[test]
fn nobody_grants_what_they_do_not_hold() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let rules = json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings", "clusterroles"], "verbs": ["get", "create", "update", "patch"]}
    ]);
    grant(&admin, "half-admin", "jane", rules);
    let jane = user(&server, "jane");
    let roles = format!("{RBAC}/namespaces/default/roles");
    let role = |name: &str, verbs: &[&str]| json!({"metadata": {"name": name}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]});
    jane.post(&roles, &role("fair", &["get"])).expect(201);
    let status = jane.post(&roles, &role("more", &["get", "delete", "watch"])).refused(403, "Forbidden", "");
    let expected = concat!(
        r#"roles.rbac.authorization.k8s.io "more" is forbidden: user "jane" (groups=["system:authenticated"])"#,
        " is attempting to grant RBAC permissions not currently held:\n",
        r#"{APIGroups:[""], Resources:["pods"], Verbs:["delete" "watch"]}"#
    );
    assert_eq!(status["message"], expected);
    // Patches and updates are writes too.
    let wider = json!([{"op": "replace", "path": "/rules/0/verbs", "value": ["*"]}]);
    jane.patch(&format!("{roles}/fair"), "json", &wider).refused(403, "Forbidden", "not currently held");
    jane.patch(&format!("{roles}/fair"), "merge", &json!({"metadata": {"labels": {"a": "b"}}})).expect(200);
    let aggregated = json!({"metadata": {"name": "all"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}});
    jane.post(&format!("{RBAC}/clusterroles"), &aggregated).refused(
        403,
        "Forbidden",
        "must have cluster-admin privileges to use the aggregationRule",
    );
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let binding = |name: &str, kind: &str, role: &str| {
        json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "joe"}]
        })
    };
    jane.post(&bindings, &binding("fair", "Role", "fair")).expect(201);
    jane.post(&bindings, &binding("more", "ClusterRole", "cluster-admin")).refused(
        403,
        "Forbidden",
        "{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}",
    );
    jane.post(&bindings, &binding("gone", "Role", "gone")).refused(404, "NotFound", r#""gone" not found"#);
    // Those who may bind a role or escalate roles are believed.
    let further = json!([
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["cluster-admin"], "verbs": ["bind"]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["escalate"]}
    ]);
    grant(&admin, "trusted", "jane", further);
    jane.post(&bindings, &binding("more", "ClusterRole", "cluster-admin")).expect(201);
    jane.post(&roles, &role("more", &["*"])).expect(201);
}

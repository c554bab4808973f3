//! Audit: what a policy has told of requests, and what it does not.

use std::path::Path;
use std::time::{Duration, Instant};

use harness::api::{Credential, Server};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// How long an event may take to the file.
const LIMIT: Duration = Duration::from_secs(60);

const POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
- {level: None, users: ['system:anonymous'], nonResourceURLs: ['/version']}
- {level: RequestResponse, resources: [{group: '', resources: [configmaps]}], omitStages: [RequestReceived]}
- {level: Metadata, resources: [{group: '', resources: [secrets]}]}
- {level: Request, resources: [{group: '', resources: ['namespaces/*', namespaces]}], verbs: [create]}
- {level: Metadata, users: ['']}
";

fn events(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the audit's file");
    // What has no end yet is being written.
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).expect("a whole event")).collect()
}

/// Events about a URI, as soon as there are `count`.
fn about(path: &Path, uri: &str, count: usize) -> Vec<Value> {
    let begin = Instant::now();
    loop {
        let found: Vec<Value> = events(path).into_iter().filter(|event| event["requestURI"] == uri).collect();
        if found.len() >= count || begin.elapsed() > LIMIT {
            assert_eq!(found.len(), count, "{uri}: {found:?}");
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn stages(events: &[Value]) -> Vec<(&str, &str)> {
    events
        .iter()
        .map(|event| (event["level"].as_str().unwrap_or(""), event["stage"].as_str().unwrap_or("")))
        .collect()
}

#[test]
fn requests_are_told_as_the_policy_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let (policy, log) = (folder.path().join("policy.yaml"), folder.path().join("audit.log"));
    std::fs::write(&policy, POLICY).expect("a policy");
    let (policy, path) = (policy.display().to_string(), log.display().to_string());
    let mut server =
        Server::start_with(PROGRAM, &["--audit-policy-file", &policy, "--audit-log-path", &path]);
    let admin = server.admin();
    let map = json!({"metadata": {"name": "m"}, "data": {"a": "1"}});
    let asked = admin.with("audit-id", "chosen-by-the-client").post(MAPS, &map);
    assert_eq!(asked.header("audit-id"), "chosen-by-the-client");
    let made = asked.expect(201);
    let told = about(&log, MAPS, 1).remove(0);
    assert_eq!(stages(std::slice::from_ref(&told)), [("RequestResponse", "ResponseComplete")]);
    assert_eq!(
        (&told["kind"], &told["apiVersion"], &told["verb"]),
        (&json!("Event"), &json!("audit.k8s.io/v1"), &json!("create"))
    );
    assert_eq!(told["user"]["username"], "kubernetes-admin");
    assert_eq!(told["sourceIPs"], json!(["127.0.0.1"]));
    assert_eq!(
        told["objectRef"],
        json!({"resource": "configmaps", "namespace": "default", "apiVersion": "v1", "name": "m"})
    );
    assert_eq!(told["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!((&told["requestObject"], &told["responseObject"]), (&map, &made));
    assert_eq!(told["annotations"]["authorization.k8s.io/decision"], "allow");
    // Metadata tells no secret, in either stage.
    let secrets = "/api/v1/namespaces/default/secrets";
    admin
        .post(secrets, &json!({"metadata": {"name": "s"}, "stringData": {"a": "nobody-sees-this"}}))
        .expect(201);
    let told = about(&log, secrets, 2);
    assert_eq!(stages(&told), [("Metadata", "RequestReceived"), ("Metadata", "ResponseComplete")]);
    assert_eq!(told[0]["auditID"], told[1]["auditID"]);
    assert!(!std::fs::read_to_string(&log).expect("the file").contains("nobody-sees-this"));
    // Refusals, impersonation and unknown credentials.
    let jane = admin.with("impersonate-user", "jane").with("impersonate-group", "people");
    jane.get(&format!("{secrets}/s")).expect(403);
    let told = about(&log, &format!("{secrets}/s"), 2).remove(1);
    assert_eq!(
        (&told["user"]["username"], &told["impersonatedUser"]["username"]),
        (&json!("kubernetes-admin"), &json!("jane"))
    );
    assert_eq!(
        (&told["responseStatus"]["code"], &told["responseStatus"]["reason"]),
        (&json!(403), &json!("Forbidden"))
    );
    assert_eq!(told["annotations"]["authorization.k8s.io/decision"], "forbid");
    let stranger = server.client(Credential::Token("not.a.token".into()));
    stranger.get("/api/v1/nodes").expect(401);
    let told = about(&log, "/api/v1/nodes", 2).remove(1);
    assert_eq!((&told["stage"], &told["responseStatus"]["code"]), (&json!("ResponseStarted"), &json!(401)));
    // What no rule matches, or a rule of None, is not told.
    server.client(Credential::None).get("/version").expect(200);
    admin.get("/api/v1/nodes?limit=7").expect(200);
    // A stream has a beginning and, when the client goes, an end.
    let watch = admin.watch(&format!("{MAPS}?watch=1&resourceVersion=0"));
    let uri = format!("{MAPS}?watch=1&resourceVersion=0");
    assert_eq!(stages(&about(&log, &uri, 1)), [("RequestResponse", "ResponseStarted")]);
    drop(watch);
    assert_eq!(about(&log, &uri, 2)[1]["stage"], "ResponseComplete");
    // kubectl speaks protobuf; the event is JSON all the same.
    let output = server.kubectl(["create", "namespace", "by-kubectl"]);
    assert!(output.status.success(), "{output:?}");
    server.stop();
    let all = events(&log);
    let by = |event: &&Value| {
        event["objectRef"]["resource"] == "namespaces" && event["stage"] == "ResponseComplete"
    };
    let told = all.iter().find(by).expect("the namespace");
    assert_eq!(told["requestObject"]["metadata"]["name"], "by-kubectl");
    assert!(told["userAgent"].as_str().is_some_and(|agent| agent.starts_with("kubectl/")), "{told}");
    assert!(told.get("responseObject").is_none());
    assert!(
        all.iter()
            .all(|event| event["requestURI"] != "/version" && event["requestURI"] != "/api/v1/nodes?limit=7")
    );
    // A policy that is wrong is named.
    std::fs::write(&policy, POLICY.replace("level: Metadata", "level: Meta")).expect("a policy");
    let refused = server.command().output().expect("the server");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("rules[2].level: Unsupported value: \"Meta\""), "{said}");
}

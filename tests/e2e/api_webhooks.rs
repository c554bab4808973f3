//! Admission webhooks over real TLS: what they change, refuse, are asked, and what their failure means.

use harness::api::Server;
use harness::webhook::Webhook;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn configuration(kind: &str, name: &str, webhook: &Webhook, more: Value) -> Value {
    let mut hook = json!({"name": format!("{name}.example.com"), "clientConfig": webhook.client_config(),
        "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": [{"operations": ["CREATE", "UPDATE", "DELETE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]});
    for (key, value) in more.as_object().into_iter().flatten() {
        hook[key] = value.clone();
    }
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "webhooks": [hook]})
}

fn answer(question: &Value, more: Value) -> Value {
    let mut response = json!({"uid": question["request"]["uid"], "allowed": true});
    for (key, value) in more.as_object().into_iter().flatten() {
        response[key] = value.clone();
    }
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "1"}})
}

#[test]
fn objects_are_changed_and_refused_by_webhooks() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let labels = Webhook::start(|question| {
        // A delete has nothing to patch.
        if question["request"]["operation"] == "DELETE" {
            return answer(question, json!({}));
        }
        let patch = json!([{"op": "add", "path": "/data/hook", "value": "was here"}]);
        let patch = harness::webhook::base64(&patch.to_string());
        answer(question, json!({"patchType": "JSONPatch", "patch": patch, "warnings": ["mind the hook"]}))
    });
    let judge = Webhook::start(|question| {
        let name = question["request"]["name"].as_str().unwrap_or_default().to_owned();
        match name.as_str() {
            "bad" => {
                answer(question, json!({"allowed": false, "status": {"code": 403, "message": "it is bad"}}))
            }
            "mute" => answer(question, json!({"allowed": false})),
            _ => answer(question, json!({})),
        }
    });
    let mutating = configuration("MutatingWebhookConfiguration", "labels", &labels, json!({}));
    let made = admin.post(&format!("{ADMISSION}/mutatingwebhookconfigurations"), &mutating).expect(201);
    assert_eq!(
        (&made["webhooks"][0]["failurePolicy"], &made["webhooks"][0]["timeoutSeconds"]),
        (&json!("Fail"), &json!(10))
    );
    let conditions = json!({"matchConditions": [{"name": "named", "expression": "request.operation == 'DELETE' || object.metadata.name != 'free'"}],
        "objectSelector": {"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]}});
    let validating = configuration("ValidatingWebhookConfiguration", "judge", &judge, conditions);
    admin.post(&format!("{ADMISSION}/validatingwebhookconfigurations"), &validating).expect(201);
    // A configuration becomes known with the next change that the caches see.
    admin.get(&format!("{ADMISSION}/validatingwebhookconfigurations")).expect(200);
    let answered = admin.send("POST", MAPS, "application/json", map("good").to_string().as_bytes());
    assert!(answered.header("warning").contains("mind the hook"), "{}", answered.header("warning"));
    assert_eq!(answered.expect(201)["data"], json!({"a": "1", "hook": "was here"}));
    let seen = judge.asked();
    let request = &seen[0]["request"];
    assert_eq!(
        request["object"]["data"]["hook"], "was here",
        "validating webhooks see what mutating ones made"
    );
    assert_eq!(
        (&request["operation"], &request["kind"]["kind"], &request["namespace"], &request["dryRun"]),
        (&json!("CREATE"), &json!("ConfigMap"), &json!("default"), &json!(false))
    );
    assert_eq!(request["userInfo"]["groups"][0], "system:masters", "{request}");
    admin.post(MAPS, &map("bad")).refused(
        403,
        "Forbidden",
        "admission webhook \"judge.example.com\" denied the request: it is bad",
    );
    admin.post(MAPS, &map("mute")).refused(400, "BadRequest", "denied the request without explanation");
    // Conditions and selectors say who is asked.
    let before = judge.asked().len();
    admin.post(MAPS, &map("free")).expect(201);
    let mut skipped = map("skipped");
    skipped["metadata"]["labels"] = json!({"skip": "yes"});
    admin.post(MAPS, &skipped).expect(201);
    assert_eq!(judge.asked().len(), before);
    // A delete is asked about with what goes.
    admin.delete(&format!("{MAPS}/good")).expect(200);
    let last = judge.asked().pop().expect("a question");
    assert_eq!((&last["request"]["operation"], &last["request"]["object"]), (&json!("DELETE"), &Value::Null));
    assert_eq!(last["request"]["oldObject"]["metadata"]["name"], "good");
}

#[test]
fn a_webhook_that_fails_counts_as_its_policy_says() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let path = format!("{ADMISSION}/validatingwebhookconfigurations");
    let gone = Webhook::start(|question| answer(question, json!({})));
    let mut fails = configuration("ValidatingWebhookConfiguration", "gone", &gone, json!({}));
    drop(gone);
    admin.post(&path, &fails).expect(201);
    admin.get(&path).expect(200);
    admin.post(MAPS, &map("a")).refused(
        500,
        "InternalError",
        "Internal error occurred: failed calling webhook \"gone.example.com\": failed to call webhook: Post \"https://127.0.0.1:",
    );
    // Its own configuration can always be mended.
    fails["webhooks"][0]["failurePolicy"] = "Ignore".into();
    admin.patch(&format!("{path}/gone"), "merge", &json!({"webhooks": fails["webhooks"]})).expect(200);
    admin.get(&path).expect(200);
    admin.post(MAPS, &map("a")).expect(201);
    // A certificate of another authority is not believed.
    let other = Webhook::start(|question| answer(question, json!({})));
    let mut stranger = configuration("ValidatingWebhookConfiguration", "stranger", &other, json!({}));
    let third = Webhook::start(|question| answer(question, json!({})));
    stranger["webhooks"][0]["clientConfig"]["caBundle"] = third.client_config()["caBundle"].clone();
    admin.post(&path, &stranger).expect(201);
    admin.get(&path).expect(200);
    admin.post(MAPS, &map("b")).refused(500, "InternalError", "tls: failed to verify certificate");
    assert!(other.asked().is_empty());
    let mut wrong = configuration("ValidatingWebhookConfiguration", "wrong", &other, json!({}));
    wrong["webhooks"][0]["name"] = "short".into();
    wrong["webhooks"][0]["sideEffects"] = "Some".into();
    admin.post(&path, &wrong).refused(
        422,
        "Invalid",
        "should be a domain with at least three segments separated by dots",
    );
}

#[test]
fn policies_are_expressions_that_requests_fulfil() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "few"},
        "spec": {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConstraints": {"resourceRules": [{"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]},
            "matchConditions": [{"name": "not-limits", "expression": "object.metadata.name != 'limits'"}],
            "variables": [{"name": "keys", "expression": "has(object.data) ? object.data.size() : 0"}],
            "validations": [{"expression": "variables.keys <= int(params.data.most)", "reason": "Forbidden",
                "messageExpression": "'at most ' + params.data.most + ' keys, not ' + string(variables.keys)"}]}});
    admin.post(MAPS, &json!({"metadata": {"name": "limits"}, "data": {"most": "1"}})).expect(201);
    let mut broken = policy.clone();
    broken["spec"]["validations"][0]["expression"] = "variables.keys <".into();
    let policies = format!("{ADMISSION}/validatingadmissionpolicies");
    admin.post(&policies, &broken).refused(
        422,
        "Invalid",
        "compilation failed: ERROR: <input>:1:17: Syntax error",
    );
    admin.post(&policies, &policy).expect(201);
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "here"},
        "spec": {"policyName": "few", "validationActions": ["Deny"],
            "paramRef": {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"},
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}}});
    let bindings = format!("{ADMISSION}/validatingadmissionpolicybindings");
    admin.post(&bindings, &binding).expect(201);
    admin.get(&bindings).expect(200);
    let two = |name: &str| json!({"metadata": {"name": name}, "data": {"a": "1", "b": "2"}});
    admin.post(MAPS, &two("two")).refused(
        403,
        "Forbidden",
        "ValidatingAdmissionPolicy 'few' with binding 'here' denied request: at most 1 keys, not 2",
    );
    admin.post(MAPS, &map("one")).expect(201);
    admin.post("/api/v1/namespaces/kube-public/configmaps", &two("two")).expect(201);
    admin
        .patch(&format!("{bindings}/here"), "merge", &json!({"spec": {"validationActions": ["Warn"]}}))
        .expect(200);
    admin.get(&bindings).expect(200);
    let warned = admin.post(MAPS, &two("two"));
    assert!(warned.header("warning").contains("at most 1 keys, not 2"), "{}", warned.header("warning"));
    warned.expect(201);
}

#[test]
fn policies_ask_what_else_somebody_may() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let matches = json!({"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]});
    let may = "authorizer.group('').resource('configmaps').namespace('default').check('create').allowed()";
    let validations = json!([
        {"expression": format!("{may} && authorizer.path('/healthz').check('get').allowed()")},
        {"expression": "authorizer.requestResource.name(object.metadata.name).check('delete').allowed()"},
        {"expression": format!("object.metadata.name != 'b' || {}", may.replace("authorizer", "authorizer.serviceAccount('default', 'nobody')")),
            "message": "nobody may not"},
    ]);
    let policy = json!({"metadata": {"name": "asks"}, "spec": {"matchConstraints": matches, "failurePolicy": "Fail",
        "matchConditions": [{"name": "may", "expression": may}], "validations": validations}});
    let (policies, bindings) = (
        format!("{ADMISSION}/validatingadmissionpolicies"),
        format!("{ADMISSION}/validatingadmissionpolicybindings"),
    );
    admin.post(&policies, &policy).expect(201);
    let binding =
        json!({"metadata": {"name": "asks"}, "spec": {"policyName": "asks", "validationActions": ["Deny"]}});
    admin.post(&bindings, &binding).expect(201);
    admin.get(&bindings).expect(200);
    admin.post(MAPS, &map("a")).expect(201);
    admin.post(MAPS, &map("b")).refused(422, "Invalid", "denied request: nobody may not");
    // Each costs what upstream says: whoever asks for every item of a list is stopped.
    let many = json!([{"expression": "lists.range(100).all(x, authorizer.path('/healthz').check('get').allowed())"}]);
    admin.patch(&format!("{policies}/asks"), "merge", &json!({"spec": {"validations": many}})).expect(200);
    admin.get(&policies).expect(200);
    admin.post(MAPS, &map("c")).refused(422, "Invalid", "actual cost limit exceeded");
}

#[test]
fn policies_change_objects_and_tell_the_audit() {
    let folder = tempfile::tempdir().expect("a folder");
    let (policy, log) = (folder.path().join("policy.yaml"), folder.path().join("audit.log"));
    let rules = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, resources: [{group: '', resources: [configmaps]}], omitStages: [RequestReceived]}]\n";
    std::fs::write(&policy, rules).expect("a policy of the audit");
    let (policy, path) = (policy.display().to_string(), log.display().to_string());
    let mut server =
        Server::start_with(PROGRAM, &["--audit-policy-file", &policy, "--audit-log-path", &path]);
    let admin = server.admin();
    let matches = json!({"resourceRules": [{"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]});
    let mutating = json!({"metadata": {"name": "marks"}, "spec": {"matchConstraints": matches, "reinvocationPolicy": "Never", "failurePolicy": "Fail",
        "matchConditions": [{"name": "not-free", "expression": "object.metadata.name != 'free'"}],
        "variables": [{"name": "team", "expression": "has(object.data) && 'team' in object.data ? object.data.team : 'nobody'"}],
        "mutations": [
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
                "Object{metadata: Object.metadata{labels: {'team': variables.team}}, data: {'applied': 'yes'}}"}},
            {"patchType": "JSONPatch", "jsonPatch": {"expression":
                "[JSONPatch{op: 'test', path: '/data/applied', value: 'yes'}, JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('example.com/size'), value: string(size(object.data))}]"}}]}});
    let policies = format!("{ADMISSION}/mutatingadmissionpolicies");
    let mut broken = mutating.clone();
    broken["spec"]["mutations"][0]["applyConfiguration"]["expression"] = "Object{metadata".into();
    admin.post(&policies, &broken).refused(422, "Invalid", "spec.mutations[0].applyConfiguration.expression");
    admin.post(&policies, &mutating).expect(201);
    let bindings = format!("{ADMISSION}/mutatingadmissionpolicybindings");
    admin
        .post(&bindings, &json!({"metadata": {"name": "marks"}, "spec": {"policyName": "marks"}}))
        .expect(201);
    admin.get(&bindings).expect(200);
    let made = admin.post(MAPS, &json!({"metadata": {"name": "a"}, "data": {"team": "sea"}})).expect(201);
    assert_eq!(made["metadata"]["labels"], json!({"team": "sea", "example.com/size": "2"}));
    assert_eq!(made["data"], json!({"team": "sea", "applied": "yes"}));
    let free = admin.post(MAPS, &map("free")).expect(201);
    assert!(free["metadata"].get("labels").is_none());
    // A mutation that fails refuses, unless the policy says that it may.
    let wrong = json!([{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/data/none'}]"}}]);
    admin.patch(&format!("{policies}/marks"), "merge", &json!({"spec": {"mutations": wrong}})).expect(200);
    admin.get(&policies).expect(200);
    admin.post(MAPS, &map("b")).refused(
        403,
        "Forbidden",
        "MutatingAdmissionPolicy 'marks' with binding 'marks' denied request: JSON Patch: ",
    );
    admin
        .patch(&format!("{policies}/marks"), "merge", &json!({"spec": {"failurePolicy": "Ignore"}}))
        .expect(200);
    admin.get(&policies).expect(200);
    admin.post(MAPS, &map("b")).expect(201);
    // What is only to be audited is neither refused nor said.
    let validating = json!({"metadata": {"name": "few"}, "spec": {"matchConstraints": matches,
        "validations": [{"expression": "object.data.size() > 1", "message": "too few"}],
        "auditAnnotations": [{"key": "size", "valueExpression": "'has ' + string(object.data.size())"}]}});
    admin.post(&format!("{ADMISSION}/validatingadmissionpolicies"), &validating).expect(201);
    let binding =
        json!({"metadata": {"name": "few"}, "spec": {"policyName": "few", "validationActions": ["Audit"]}});
    admin.post(&format!("{ADMISSION}/validatingadmissionpolicybindings"), &binding).expect(201);
    admin.get(&format!("{ADMISSION}/validatingadmissionpolicybindings")).expect(200);
    let said = admin.post(MAPS, &map("c"));
    assert_eq!(said.header("warning"), "");
    said.expect(201);
    server.stop();
    let events = std::fs::read_to_string(&log).expect("the audit's file");
    let last: Value = serde_json::from_str(events.lines().last().expect("an event")).expect("a whole event");
    assert_eq!(last["annotations"]["few/size"], "has 1");
    let failures = last["annotations"]["validation.policy.admission.k8s.io/validation_failure"]
        .as_str()
        .expect("failures");
    let failures: Value = serde_json::from_str(failures).expect("a list");
    assert_eq!(
        failures,
        json!([{"message": "too few", "policy": "few", "binding": "few", "expressionIndex": "0", "validationActions": ["Audit"]}])
    );
}

#[test]
fn webhooks_are_asked_in_the_version_that_they_take_and_tell_the_audit() {
    let folder = tempfile::tempdir().expect("a folder");
    let (policy, log) = (folder.path().join("policy.yaml"), folder.path().join("audit.log"));
    let rules = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, verbs: [create], resources: [{group: '', resources: [configmaps]}], omitStages: [RequestReceived]}]\n";
    std::fs::write(&policy, rules).expect("a policy of the audit");
    let (policy, path) = (policy.display().to_string(), log.display().to_string());
    let mut server =
        Server::start_with(PROGRAM, &["--audit-policy-file", &policy, "--audit-log-path", &path]);
    let admin = server.admin();
    // Of v1beta1 neither the type nor the uid of an answer was ever checked. Reached by a name.
    let beta = Webhook::start(|_| {
        let patch = harness::webhook::base64(r#"[{"op": "add", "path": "/data/hook", "value": "beta"}]"#);
        json!({"response": {"allowed": true, "patch": patch, "auditAnnotations": {"why": "because"}}})
    });
    let quiet = Webhook::start(|question| answer(question, json!({})));
    let gone = Webhook::start(|question| answer(question, json!({})));
    let versions = json!({"admissionReviewVersions": ["v2", "v1beta1"]});
    let mut mutating = configuration("MutatingWebhookConfiguration", "beta", &beta, versions);
    let url = mutating["webhooks"][0]["clientConfig"]["url"]
        .as_str()
        .expect("a URL")
        .replace("127.0.0.1", "localhost");
    mutating["webhooks"][0]["clientConfig"]["url"] = url.into();
    let ignored = json!({"failurePolicy": "Ignore"});
    let opens = configuration("ValidatingWebhookConfiguration", "gone", &gone, ignored);
    drop(gone);
    let quiet = configuration("MutatingWebhookConfiguration", "quiet", &quiet, json!({}));
    admin.post(&format!("{ADMISSION}/mutatingwebhookconfigurations"), &mutating).expect(201);
    admin.post(&format!("{ADMISSION}/mutatingwebhookconfigurations"), &quiet).expect(201);
    admin.post(&format!("{ADMISSION}/validatingwebhookconfigurations"), &opens).expect(201);
    admin.get(&format!("{ADMISSION}/validatingwebhookconfigurations")).expect(200);
    assert_eq!(admin.post(MAPS, &map("a")).expect(201)["data"]["hook"], "beta");
    assert_eq!(beta.asked()[0]["apiVersion"], "admission.k8s.io/v1beta1");
    server.stop();
    let events = std::fs::read_to_string(&log).expect("the audit's file");
    let last: Value = serde_json::from_str(events.lines().last().expect("an event")).expect("a whole event");
    let noted = &last["annotations"];
    assert_eq!(noted["beta.example.com/why"], "because");
    assert_eq!(
        noted["mutation.webhook.admission.k8s.io/round_0_index_0"],
        r#"{"configuration":"beta","webhook":"beta.example.com","mutated":true}"#
    );
    assert_eq!(
        noted["mutation.webhook.admission.k8s.io/round_0_index_1"],
        r#"{"configuration":"quiet","webhook":"quiet.example.com","mutated":false}"#
    );
    assert_eq!(noted["failed-open.validating.webhook.admission.k8s.io/round_0_index_0"], "gone.example.com");
}
